/*
 * Looks by a store handle. The lane's thread; a crash leaves nothing, since a look only reads.
 */
#include "consumers/look.h"

static int look(const struct ls_store_ops *ops, struct ls_store *store, struct ls_unit *unit,
                struct ls_err *err)
{
    /*
     * Data first, marks second: another worker that starts at the same time writes marks before
     * data, so seeing its data here means that its marks are seen too.
     */
    if (unit->look->setup &&
        (ops->check(store, err) < 0 || ops->has_data(store, &unit->look->has_data, err) < 0))
        return -1;
    return ops->read_marks(store, unit->marks, unit->n_marks, err);
}

void ls_look_by_store(const struct ls_store_ops *ops, const struct ls_sink_config *config,
                      struct ls_store **store, struct ls_unit *unit)
{
    struct ls_err err = {0};
    if ((*store != NULL || ops->open(config, store, &err) == 0) &&
        look(ops, *store, unit, &err) == 0)
        return;
    ls_unit_note(unit, &err);
    if (*store != NULL)
        ops->close(*store);
    *store = NULL;
}
