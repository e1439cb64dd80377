# The scripts that run in Redis become one C file, which redis_scripts.h
# describes. Included by the build; with -P, it writes that file.

set(script_names append read restore register beat remove list claim settle
                 stop count describe)

if(NOT CMAKE_SCRIPT_MODE_FILE)
    set(scripts_dir ${sse_src_dir}/store/scripts)
    set(scripts_c ${PROJECT_BINARY_DIR}/redis_scripts.c)
    set(scripts_from ${CMAKE_CURRENT_LIST_FILE}
                     ${PROJECT_SOURCE_DIR}/cmake/embed.cmake)
    foreach(name common ${script_names})
        list(APPEND scripts_from ${scripts_dir}/${name}.lua)
    endforeach()
    add_custom_command(OUTPUT ${scripts_c}
        COMMAND ${CMAKE_COMMAND} -DSCRIPTS=${scripts_dir} -DINTO=${scripts_c}
                -P ${CMAKE_CURRENT_LIST_FILE}
        DEPENDS ${scripts_from} VERBATIM)
    set_source_files_properties(${scripts_c} PROPERTIES
        INCLUDE_DIRECTORIES ${sse_src_dir}/store)
    target_sources(sse_io PRIVATE ${scripts_c})
    return()
endif()

file(READ ${SCRIPTS}/common.lua common)
set(table)
file(WRITE ${INTO} "/* Made from libsse/src/store/scripts. */\n"
                   "#include \"redis_scripts.h\"\n\n")
foreach(name IN LISTS script_names)
    file(READ ${SCRIPTS}/${name}.lua script)
    set(INPUT ${INTO}.${name}.lua)
    set(OUTPUT ${INTO}.${name}.c)
    set(NAME sse__lua_${name})
    file(WRITE ${INPUT} "${common}${script}")
    include(${CMAKE_CURRENT_LIST_DIR}/embed.cmake)
    file(READ ${OUTPUT} bytes)
    file(APPEND ${INTO} "${bytes}\n")
    file(REMOVE ${INPUT} ${OUTPUT})
    string(TOUPPER ${name} upper)
    string(APPEND table "    [SSE__REDIS_${upper}] = {\"${name}\", ${NAME}, "
                        "sizeof(${NAME}) - 1},\n")
endforeach()
file(APPEND ${INTO} "const sse__redis_lua "
     "sse__redis_scripts[SSE__REDIS_SCRIPT_COUNT] = {\n${table}};\n")
