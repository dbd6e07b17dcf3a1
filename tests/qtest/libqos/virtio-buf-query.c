/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * query-virtio-buf for tests
 *
 * A check that fails says which member it was about.
 */
#include "qemu/osdep.h"
#include "qobject/qbool.h"
#include "qobject/qlist.h"
#include "qobject/qnum.h"
#include "../libqtest.h"
#include "virtio-buf-query.h"

QDict *qbuf_query(QVirtioBuf *b, const char *device)
{
    QDict *answer = qtest_qmp(b->qts, "{'execute': 'query-virtio-buf',"
                              " 'arguments': {'device': %s}}", device);
    QList *list = qdict_get_qlist(answer, "return");
    QDict *info;

    g_assert_nonnull(list);
    g_assert_cmpuint(qlist_size(list), ==, 1);
    info = qobject_to(QDict, qlist_pop(list));
    qobject_unref(answer);
    return info;
}

QDict *qbuf_find(const QDict *device, const char *list, uint64_t id)
{
    const QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(device, list), entry) {
        QDict *dict = qobject_to(QDict, qlist_entry_obj(entry));

        if (qdict_get_int(dict, "id") == id) {
            return dict;
        }
    }
    return NULL;
}

void qbuf_check_int(const QDict *dict, const char *key, uint64_t value)
{
    QNum *num = qobject_to(QNum, qdict_get(dict, key));
    uint64_t found;

    if (!num || !qnum_get_try_uint(num, &found)) {
        g_error("%s: no number", key);
    }
    if (found != value) {
        g_error("%s: %" PRIu64 ", not %" PRIu64, key, found, value);
    }
}

void qbuf_check_str(const QDict *dict, const char *key, const char *value)
{
    const char *found = qdict_get_try_str(dict, key);

    if (g_strcmp0(found, value)) {
        g_error("%s: %s, not %s", key, found ?: "none", value ?: "none");
    }
}

void qbuf_check_bool(const QDict *dict, const char *key, bool value)
{
    QBool *found = qobject_to(QBool, qdict_get(dict, key));

    if (!found || qbool_get_bool(found) != value) {
        g_error("%s: not %s", key, value ? "true" : "false");
    }
}
