# Writes the bytes of INPUT into the C file OUTPUT, as NAME and NAME_len.

file(READ ${INPUT} bytes HEX)
string(LENGTH "${bytes}" digits)
math(EXPR length "${digits} / 2")
string(REPEAT "." 24 line)
string(REGEX REPLACE "(${line})" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${bytes}")
file(WRITE ${OUTPUT} "#include <stddef.h>

extern const char   ${NAME}[];
extern const size_t ${NAME}_len;

/* A NUL follows that the length does not count. */
const char ${NAME}[] = {\n${bytes}'\\0'};
const size_t ${NAME}_len = ${length};
")
