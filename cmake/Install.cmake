# What `cmake --install` gives besides what the parts install themselves (insp, insp-vmm, the appliance, man pages,
# completions): the library, its headers, and the two ways to find it, pkg-config and find_package(libinspect).
include(CMakePackageConfigHelpers)

install(TARGETS inspect_shared EXPORT libinspectTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/libinspect/include/inspect DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.h")

# Paths in libinspect.pc are relative to where it lies, so that the tree may be moved.
set(pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH INSP_PC_PREFIX /prefix/${pkgconfig_dir} /prefix)
string(REGEX REPLACE "/$" "" INSP_PC_PREFIX ${INSP_PC_PREFIX})
configure_file(${CMAKE_CURRENT_LIST_DIR}/libinspect.pc.in ${PROJECT_BINARY_DIR}/libinspect.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/libinspect.pc DESTINATION ${pkgconfig_dir})

set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/libinspect)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/libinspectConfig.cmake.in
  ${PROJECT_BINARY_DIR}/libinspectConfig.cmake INSTALL_DESTINATION ${config_dir})
# Before 1.0, a minor version may change the API.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/libinspectConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/libinspectConfig.cmake ${PROJECT_BINARY_DIR}/libinspectConfigVersion.cmake
  DESTINATION ${config_dir})
install(EXPORT libinspectTargets NAMESPACE libinspect:: DESTINATION ${config_dir})

# Scripts for many images and machines, as examples.
install(DIRECTORY docs/fleet DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/libinspect USE_SOURCE_PERMISSIONS)
