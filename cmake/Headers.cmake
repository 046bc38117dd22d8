# Precompiled headers: reading the standard library and the generated messages is most of what the compiler does, so
# both are read once for each set of flags. Every file still includes what it uses: the preset debug is without
# (INSP_PRECOMPILE=OFF), and sees to that.
option(INSP_PRECOMPILE "Compile the largest headers once" ON)

set(insp_standard_headers <algorithm> <array> <charconv> <chrono> <fstream> <functional> <map> <memory>
  <mutex> <optional> <set> <span> <sstream> <string> <string_view> <thread> <unordered_map> <vector>)

# insp_headers(NAME LINK libs... HEADERS headers... [SOURCES generated headers...] [PIC]): a set of headers, compiled
# with what the named libraries ask for.
function(insp_headers name)
  cmake_parse_arguments(ARG "PIC" "" "LINK;HEADERS;SOURCES" ${ARGN})
  if(NOT INSP_PRECOMPILE)
    return()
  endif()
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/${name}.cc CONTENT "")
  add_library(${name} OBJECT ${CMAKE_BINARY_DIR}/${name}.cc ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINK})
  target_precompile_headers(${name} PRIVATE ${ARG_HEADERS})
  if(ARG_PIC)
    set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  endif()
endfunction()

# insp_use_headers(TARGET NAME): TARGET, which has the same flags, starts from that set.
function(insp_use_headers target name)
  if(INSP_PRECOMPILE)
    target_precompile_headers(${target} REUSE_FROM ${name})
    # What std::string does inside itself GCC 12 takes for this project's when it comes out of a set, and sees harm
    # in it where there is none.
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-array-bounds -Wno-restrict
      -Wno-stringop-overflow -Wno-stringop-overread -Wno-maybe-uninitialized>)
  endif()
endfunction()
