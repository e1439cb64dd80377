# sse_core, libsse.so and libsse.a.

set(THREADS_PREFER_PTHREAD_FLAG OFF)
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(LIBUV REQUIRED IMPORTED_TARGET libuv>=1.44)
pkg_check_modules(LIBCURL REQUIRED IMPORTED_TARGET libcurl>=7.85)
pkg_check_modules(HIREDIS REQUIRED IMPORTED_TARGET hiredis>=0.14)
pkg_check_modules(OPENSSL REQUIRED IMPORTED_TARGET libssl>=1.1.1 libcrypto)
find_path(HTTP_PARSER_INCLUDE_DIR http_parser.h REQUIRED)
find_library(HTTP_PARSER_LIBRARY http_parser REQUIRED)

set(sse_include_dir ${PROJECT_SOURCE_DIR}/libsse/include)
set(sse_src_dir ${PROJECT_SOURCE_DIR}/libsse/src)
file(GLOB core_sources CONFIGURE_DEPENDS ${sse_src_dir}/core/*.c)
file(GLOB io_sources CONFIGURE_DEPENDS ${sse_src_dir}/io/*.c)
file(GLOB store_sources CONFIGURE_DEPENDS ${sse_src_dir}/store/*.c)

# The parser's loops gain a tenth from it; the rest gains nothing.
set_source_files_properties(
    ${sse_src_dir}/core/parser.c ${sse_src_dir}/core/scan.c
    PROPERTIES COMPILE_OPTIONS $<$<CONFIG:RelWithDebInfo,Release>:-O3>)

# The part without I/O. It links to nothing: the C library is all it may use.
add_library(sse_core STATIC ${core_sources})
target_include_directories(sse_core
    PUBLIC $<BUILD_INTERFACE:${sse_include_dir}>
    PRIVATE ${sse_src_dir}/core)
target_link_libraries(sse_core PRIVATE sse_warnings)
set_target_properties(sse_core PROPERTIES POSITION_INDEPENDENT_CODE ON)

# The adapters, compiled once for both libraries.
add_library(sse_io OBJECT ${io_sources} ${store_sources})
target_include_directories(sse_io
    PUBLIC ${sse_include_dir}
    PRIVATE ${sse_src_dir}/core ${sse_src_dir}/io ${HTTP_PARSER_INCLUDE_DIR})
target_link_libraries(sse_io PRIVATE
    sse_warnings sse_posix PkgConfig::LIBUV PkgConfig::LIBCURL
    PkgConfig::HIREDIS
    PkgConfig::OPENSSL Threads::Threads)
set_target_properties(sse_io PROPERTIES POSITION_INDEPENDENT_CODE ON)

include(cmake/scripts.cmake)

set(sse_objects $<TARGET_OBJECTS:sse_core> $<TARGET_OBJECTS:sse_io>)
set(sse_interface_dirs $<BUILD_INTERFACE:${sse_include_dir}>
                       $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)

# SOVERSION is the number in libsse.map. The library stays loaded once it is:
# a thread of a hub must not outlive its code.
add_library(sse_shared SHARED ${sse_objects})
target_include_directories(sse_shared PUBLIC ${sse_interface_dirs})
target_link_libraries(sse_shared PRIVATE
    PkgConfig::LIBUV PkgConfig::LIBCURL PkgConfig::HIREDIS PkgConfig::OPENSSL
    ${HTTP_PARSER_LIBRARY} Threads::Threads)
target_link_options(sse_shared PRIVATE
    -Wl,--version-script=${PROJECT_SOURCE_DIR}/libsse/libsse.map
    -Wl,-z,nodelete)
if(NOT LIBSSE_SANITIZE) # whose runtime may come with the program
    target_link_options(sse_shared PRIVATE -Wl,-z,defs)
endif()
set_target_properties(sse_shared PROPERTIES
    OUTPUT_NAME sse EXPORT_NAME sse
    VERSION ${PROJECT_VERSION} SOVERSION 0
    LINK_DEPENDS ${PROJECT_SOURCE_DIR}/libsse/libsse.map)

# What a static libsse needs is named plainly, not by path, so that the
# installed package fits any machine, and costs users of libsse.so nothing.
add_library(sse_static STATIC ${sse_objects})
target_include_directories(sse_static PUBLIC ${sse_interface_dirs})
target_link_libraries(sse_static PUBLIC
    uv curl http_parser hiredis ssl crypto Threads::Threads)
set_target_properties(sse_static PROPERTIES OUTPUT_NAME sse)

add_library(libsse::sse ALIAS sse_shared)
add_library(libsse::sse_static ALIAS sse_static)
