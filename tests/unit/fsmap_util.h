/* What the tests of the file system maps share. */
#ifndef VMR_TESTS_UNIT_FSMAP_UTIL_H
#define VMR_TESTS_UNIT_FSMAP_UTIL_H

#include "storage/image/fsmap.h"
#include "tests/unit/image_util.h"

/* The map of a raw disk in a file; fails the test if it cannot be made, if it breaks its own promises (order, bounds, sums), or if a read asks
 * for more than the contract allows. */
struct fsmap map_file(const char *path, const struct fsmap_options *o);
/* A copy of a file with only the ranges of the map, zeros elsewhere. */
void map_copy(const struct fsmap *m, const char *from, const char *to);
/* The first region with this rule (NULL: any) that is not a table or gap; fails the test if there is none. */
const struct fsmap_region *map_region(const struct fsmap *m, const char *rule);
/* All of the disk must be in use, but for tables and gaps for a reason that holds `text`. */
void assert_in_use(const char *path, const char *text);

#endif
