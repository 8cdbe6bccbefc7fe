/* membership_report.c - what `shoal status` shows of the cluster. */
#include "membership.h"

enum
{
    MEMBERS_BYTES = 28 * 1024, /* of JSON; a report has a limit, and so further members are only counted */
};

static const char *state_name (enum swim_state state)
{
    static const char *const names[] = {"joining", "alive", "suspect", "dead", "left"};
    return names[state];
}

static json_t *member_of (const struct swim_member *member)
{
    const struct swim_identity *identity = &member->identity;
    return json_pack ("{ss ss ss ss si si ss sI sI ss}", "id", identity->id, "name", identity->name, "state",
                      state_name (member->state), "address", identity->address, "port", (int) identity->port,
                      "gossip_port", (int) identity->gossip_port, "role", identity->manager ? "manager" : "worker",
                      "instance", (json_int_t) identity->instance, "incarnation", (json_int_t) member->incarnation,
                      "version", identity->version);
}

static void add_members (json_t *report, const struct swim *swim)
{
    json_t *members = json_array ();
    size_t used = 0, count = swim_count (swim), shown = 0, alive = 0;
    for (size_t index = 0; index < count; index++)
    {
        const struct swim_member *member = swim_at (swim, index);
        alive += member->state == SWIM_ALIVE || member->state == SWIM_SUSPECT;
        json_t *object = member_of (member);
        used += json_dumpb (object, NULL, 0, JSON_COMPACT) + 1;
        if (used > MEMBERS_BYTES)
        {
            json_decref (object);
            continue;
        }
        json_array_append_new (members, object);
        shown++;
    }
    json_object_set_new (report, "members", members);
    json_object_set_new (report, "members_alive", json_integer ((json_int_t) alive));
    json_object_set_new (report, "members_not_shown", json_integer ((json_int_t) (count - shown)));
    json_object_set_new (report, "health", json_integer ((json_int_t) swim_health (swim)));
}

static json_t *gossip_of (const struct swim *swim)
{
    struct swim_counters counters = swim_counters (swim);
    return json_pack ("{sI sI sI sI sI sI sI sI sI sI sI sI}", "packets_in", (json_int_t) counters.packets_in,
                      "packets_out", (json_int_t) counters.packets_out, "bytes_in", (json_int_t) counters.bytes_in,
                      "bytes_out", (json_int_t) counters.bytes_out, "refused", (json_int_t) counters.refused, "probes",
                      (json_int_t) counters.probes, "probes_failed", (json_int_t) counters.probes_failed, "suspicions",
                      (json_int_t) counters.suspicions, "refuted", (json_int_t) counters.refuted, "deaths",
                      (json_int_t) counters.deaths, "deaths_refuted", (json_int_t) counters.deaths_refuted,
                      "dropped_members", (json_int_t) counters.dropped_members);
}

static json_t *transport_of (const struct transport *transport)
{
    struct transport_counters counters = transport_counters (transport);
    return json_pack (
        "{sI sI sI sI sI sI sI sI sI sI sI sI sI sI sI sI sI}", "packets_in", (json_int_t) counters.packets_in,
        "packets_out", (json_int_t) counters.packets_out, "bytes_in", (json_int_t) counters.bytes_in, "bytes_out",
        (json_int_t) counters.bytes_out, "dropped", (json_int_t) counters.dropped, "malformed",
        (json_int_t) counters.malformed, "links", (json_int_t) counters.links, "links_evicted",
        (json_int_t) counters.links_evicted, "spares", (json_int_t) counters.spares, "connects",
        (json_int_t) counters.connects, "connects_failed", (json_int_t) counters.connects_failed, "handshakes_failed",
        (json_int_t) counters.handshakes_failed, "accepted", (json_int_t) counters.gate.accepted, "admitted",
        (json_int_t) counters.gate.admitted, "wrong_keys", (json_int_t) counters.gate.wrong_keys, "wrong_hosts",
        (json_int_t) counters.gate.wrong_hosts, "unfinished", (json_int_t) counters.gate.unfinished);
}

json_t *membership_report (struct membership *membership)
{
    const struct swim_identity *own = &membership->own;
    json_t *report = json_pack ("{sb sb ss ss sI ss si si sb ss sI sI sI}", "clustered",
                                membership->swim != NULL && !membership->leaving, "secret",
                                membership->configuration->secret[0] != '\0', "id", own->id, "name", own->name,
                                "instance", (json_int_t) own->instance, "address", own->address, "port",
                                (int) own->port, "gossip_port", (int) own->gossip_port, "manager", own->manager,
                                "trouble", membership->trouble, "published", (json_int_t) membership->published.count,
                                "joins", (json_int_t) membership->joins, "claims", (json_int_t) membership->claims);
    if (membership->swim)
    {
        add_members (report, membership->swim);
        json_object_set_new (report, "gossip", gossip_of (membership->swim));
        json_object_set_new (report, "transport", transport_of (membership->transport));
    }
    if (membership->resolver)
        json_object_set_new (report, "resolver", resolver_report (membership->resolver));
    return report;
}
