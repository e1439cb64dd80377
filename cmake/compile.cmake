# How every C file is compiled.

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_BUILD_TYPE AND PROJECT_IS_TOP_LEVEL)
    set(CMAKE_BUILD_TYPE RelWithDebInfo) # -O2 -g -DNDEBUG
endif()

set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)

if(LIBSSE_SANITIZE)
    add_compile_options(-fsanitize=${LIBSSE_SANITIZE}
                        -fno-sanitize-recover=all -fno-omit-frame-pointer)
    add_link_options(-fsanitize=${LIBSSE_SANITIZE})
endif()
if(LIBSSE_FUZZ)
    add_compile_options(-fsanitize=fuzzer-no-link)
endif()

add_library(sse_warnings INTERFACE)
target_compile_options(sse_warnings INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion
    -Wstrict-prototypes -Wmissing-prototypes
    $<$<BOOL:${LIBSSE_WERROR}>:-Werror>)
if(LIBSSE_SANITIZE AND CMAKE_C_COMPILER_ID STREQUAL GNU)
    # gcc loses sight of ranges in instrumented code; the release build looks.
    target_compile_options(sse_warnings INTERFACE
        -Wno-format-truncation -Wno-maybe-uninitialized)
endif()

# Everything but the core talks to the operating system.
add_library(sse_posix INTERFACE)
target_compile_definitions(sse_posix INTERFACE _GNU_SOURCE)
