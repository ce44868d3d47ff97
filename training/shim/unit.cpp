// The whole shim as one unit: reading libtorch's headers is nearly all the work of compiling it.
#include "process_group.cpp"
#include "recompute.cpp"
#include "reducer.cpp"
#include "shim.cpp"
