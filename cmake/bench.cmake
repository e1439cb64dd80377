# Every bench/*.c is a program, build/bench/<name>.

file(GLOB bench_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/bench/*.c)
foreach(source IN LISTS bench_sources)
    cmake_path(GET source STEM name)
    add_executable(${name} ${source})
    target_include_directories(${name} PRIVATE ${sse_src_dir}/core)
    target_link_libraries(${name} PRIVATE sse_warnings sse_posix sse_static)
    set_target_properties(${name} PROPERTIES
        RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bench)
endforeach()
target_link_libraries(store_peer PRIVATE PkgConfig::HIREDIS)
