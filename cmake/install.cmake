# Header, libraries, libsse.pc, the CMake package, programs.

include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/libsse)

install(FILES ${sse_include_dir}/sse.h TYPE INCLUDE)
install(TARGETS sse_shared sse_static EXPORT libsse)
if(programs)
    install(TARGETS ${programs})
endif()

install(EXPORT libsse NAMESPACE libsse:: FILE libsse-targets.cmake
        DESTINATION ${package_dir})
configure_package_config_file(cmake/libsse-config.cmake.in libsse-config.cmake
    INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(libsse-config-version.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/libsse-config.cmake
              ${PROJECT_BINARY_DIR}/libsse-config-version.cmake
        DESTINATION ${package_dir})

# Made at install time, when `cmake --install --prefix` has had its say.
install(CODE "
    set(PROJECT_VERSION ${PROJECT_VERSION})
    set(PROJECT_DESCRIPTION \"${PROJECT_DESCRIPTION}\")
    set(CMAKE_INSTALL_LIBDIR ${CMAKE_INSTALL_LIBDIR})
    set(CMAKE_INSTALL_INCLUDEDIR ${CMAKE_INSTALL_INCLUDEDIR})
    configure_file(${PROJECT_SOURCE_DIR}/libsse/libsse.pc.in
                   ${PROJECT_BINARY_DIR}/libsse.pc @ONLY)")
install(FILES ${PROJECT_BINARY_DIR}/libsse.pc
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
