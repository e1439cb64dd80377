# The programs. They see the public header and nothing else of libsse.

file(GLOB command_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tools/sse/*.c)
file(GLOB server_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/server-example/*.c)
set(page ${PROJECT_SOURCE_DIR}/server-example/page.html)
set(page_c ${PROJECT_BINARY_DIR}/page.c)
set(programs)

if(command_sources)
    pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl>=7.88)
    add_executable(sse ${command_sources})
    target_link_libraries(sse PRIVATE PkgConfig::CURL PkgConfig::CJSON)
    list(APPEND programs sse)
endif()

if(server_sources)
    add_custom_command(OUTPUT ${page_c}
        COMMAND ${CMAKE_COMMAND} -DINPUT=${page} -DOUTPUT=${page_c}
                -DNAME=sse_page_html -P ${PROJECT_SOURCE_DIR}/cmake/embed.cmake
        DEPENDS ${page} ${PROJECT_SOURCE_DIR}/cmake/embed.cmake VERBATIM)
    add_executable(sse-server ${server_sources} ${page_c})
    list(APPEND programs sse-server)
endif()

# They find libsse.so beside themselves, in the build and once installed.
file(RELATIVE_PATH bin_to_lib ${CMAKE_INSTALL_FULL_BINDIR}
     ${CMAKE_INSTALL_FULL_LIBDIR})
foreach(program IN LISTS programs)
    target_link_libraries(${program} PRIVATE
        sse_warnings sse_posix libsse::sse Threads::Threads)
    set_target_properties(${program} PROPERTIES
        BUILD_RPATH_USE_ORIGIN ON INSTALL_RPATH $ORIGIN/${bin_to_lib})
endforeach()
