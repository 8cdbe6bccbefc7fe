/* world.c - see world.h. */
#include "world.h"
#include "gossip/machine.h"

#include <stdio.h>
#include <stdlib.h>

enum
{
    EPOCH = 1000000000, /* microseconds at which a world begins, so that no time is 0 */
    SETUP_TRIPS = 5,    /* one-way delays of TCP's, ZMTP's and CURVE's handshakes */
    STALL_FIRST = 200 * WORLD_MS,
    STALL_MOST = 800 * WORLD_MS,
    LATE_DATAGRAM = 10 * WORLD_MS,
};

enum event_kind
{
    EVENT_TICK,
    EVENT_ARRIVE, /* a packet is at the node */
    EVENT_HANDLE, /* the node handles it */
};

struct event
{
    uint64_t time, order;
    enum event_kind kind;
    uint32_t from, to;
    char *bytes;
    size_t length;
};

/* One direction between two nodes, with TCP. */
struct connection
{
    uint64_t last; /* when the latest message arrives: none overtakes it */
    uint16_t queued;
    bool open;
};

struct world
{
    struct world_options options;
    uint64_t now, order, random;
    struct event *heap;
    size_t count, capacity;
    struct world_node *nodes;
    uint8_t *views; /* views[at * nodes + of] */
    uint8_t *cuts;  /* the same for cut links */
    struct connection *connections;
    uint32_t *usable, *known; /* by node: how many hold it for that, running or not */
    uint64_t false_deaths, deliveries;
};

/* ---------------------------------------------------------------------------------------------------------- events */

static bool before (const struct event *a, const struct event *b)
{
    return a->time < b->time || (a->time == b->time && a->order < b->order);
}

static void push (struct world *world, struct event event)
{
    if (world->count == world->capacity)
    {
        world->capacity = world->capacity ? 2 * world->capacity : 1024;
        world->heap = realloc (world->heap, world->capacity * sizeof *world->heap);
        if (!world->heap)
            abort ();
    }
    event.order = world->order++;
    size_t at = world->count++;
    for (; at > 0 && before (&event, &world->heap[(at - 1) / 2]); at = (at - 1) / 2)
        world->heap[at] = world->heap[(at - 1) / 2];
    world->heap[at] = event;
}

static struct event pop (struct world *world)
{
    struct event first = world->heap[0], last = world->heap[--world->count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < world->count; at = child)
    {
        if (child + 1 < world->count && before (&world->heap[child + 1], &world->heap[child]))
            child++;
        if (!before (&world->heap[child], &last))
            break;
        world->heap[at] = world->heap[child];
    }
    world->heap[at] = last;
    return first;
}

uint64_t world_random (struct world *world)
{
    uint64_t mixed = world->random += UINT64_C (0x9e3779b97f4a7c15);
    mixed = (mixed ^ mixed >> 30) * UINT64_C (0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C (0x94d049bb133111eb);
    return mixed ^ mixed >> 31;
}

static bool chance (struct world *world, double probability)
{
    return probability > 0 && (double) (world_random (world) >> 11) < probability * 0x1p53;
}

/* ----------------------------------------------------------------------------------------------------------- names */

void world_id (size_t number, char out[65])
{
    snprintf (out, 65, "n%024zu", number); /* Swarm's ids have 25 characters */
}

void world_address (size_t number, char out[65])
{
    snprintf (out, 65, "10.7.%zu.%zu", number / 250, number % 250 + 2);
}

/* The node with this address; SIZE_MAX for an address that nobody has. */
static size_t number_of_address (const struct world *world, const char *address)
{
    char *end;
    if (strncmp (address, "10.7.", 5) != 0)
        return SIZE_MAX;
    size_t high = strtoul (address + 5, &end, 10);
    size_t low = *end == '.' ? strtoul (end + 1, NULL, 10) : 0;
    size_t number = high * 250 + low - 2;
    return low >= 2 && number < world->options.nodes ? number : SIZE_MAX;
}

static size_t number_of_id (const struct world *world, const char *id)
{
    size_t number = id[0] == 'n' ? strtoul (id + 1, NULL, 10) : SIZE_MAX;
    return number < world->options.nodes ? number : SIZE_MAX;
}

/* --------------------------------------------------------------------------------------------------------- network */

static size_t pair (const struct world *world, size_t from, size_t to)
{
    return from * world->options.nodes + to;
}

static bool is_cut (const struct world *world, size_t from, size_t to)
{
    return world->cuts[pair (world, from, to)] || world->nodes[from].group != world->nodes[to].group;
}

static uint64_t delay (struct world *world)
{
    uint64_t span = world->options.delay_most - world->options.delay_least;
    return world->options.delay_least + (span ? world_random (world) % span : 0);
}

static void deliver (struct world *world, size_t from, size_t to, struct slice bytes, uint64_t time)
{
    char *copy = malloc (bytes.len ? bytes.len : 1);
    if (!copy)
        abort ();
    memcpy (copy, bytes.at, bytes.len);
    push (world, (struct event){.time = time,
                                .kind = EVENT_ARRIVE,
                                .from = (uint32_t) from,
                                .to = (uint32_t) to,
                                .bytes = copy,
                                .length = bytes.len});
}

static void send_datagram (struct world *world, size_t from, size_t to, struct slice bytes)
{
    if (chance (world, world->options.loss))
        return;
    uint64_t late = chance (world, world->options.reordering) ? LATE_DATAGRAM : 0;
    deliver (world, from, to, bytes, world->now + delay (world) + late);
    if (chance (world, world->options.duplication))
        deliver (world, from, to, bytes, world->now + delay (world) + LATE_DATAGRAM);
}

/* A segment that is lost is sent again after 0.2 s, then 0.4, then 0.8; what comes behind it waits. */
static uint64_t stalls (struct world *world)
{
    uint64_t sum = 0, wait = STALL_FIRST;
    while (chance (world, world->options.loss))
    {
        sum += wait;
        wait = wait < STALL_MOST ? 2 * wait : STALL_MOST;
    }
    return sum;
}

static void send_tcp (struct world *world, size_t from, size_t to, struct slice bytes)
{
    struct connection *connection = &world->connections[pair (world, from, to)];
    if (connection->queued == WORLD_QUEUE)
        return;
    uint64_t arrival = world->now + delay (world);
    if (!connection->open)
    {
        for (unsigned trip = 0; trip < SETUP_TRIPS; trip++)
            arrival += delay (world) + stalls (world);
        connection->open = true;
        connection->last = 0;
    }
    /* What is sent while the connection stalls is repeated together with what was lost. */
    if (arrival > connection->last)
        arrival += stalls (world);
    connection->last = arrival > connection->last ? arrival : connection->last;
    connection->queued++;
    deliver (world, from, to, bytes, connection->last);
}

static void on_send (void *context, const char *address, uint16_t port, struct slice bytes)
{
    struct world_node *node = context;
    struct world *world = node->world;
    node->sent++;
    node->sent_bytes += bytes.len;
    size_t to = port == WORLD_PORT ? number_of_address (world, address) : SIZE_MAX;
    if (to == SIZE_MAX)
        return;
    if (world->options.link == WORLD_DATAGRAMS)
        send_datagram (world, node->number, to, bytes);
    else
        send_tcp (world, node->number, to, bytes);
}

/* ----------------------------------------------------------------------------------------------------------- views */

static bool is_usable (enum swim_state state)
{
    return state == SWIM_ALIVE || state == SWIM_SUSPECT;
}

static bool is_known (enum swim_state state)
{
    return is_usable (state) || state == SWIM_JOINING;
}

static void set_view (struct world *world, size_t at, size_t of, enum swim_state state)
{
    uint8_t *view = &world->views[pair (world, at, of)];
    world->usable[of] += is_usable (state) - (uint32_t) is_usable (*view);
    world->known[of] += is_known (state) - (uint32_t) is_known (*view);
    *view = (uint8_t) state;
}

static void on_changed (void *context, const struct swim_member *member)
{
    struct world_node *node = context;
    struct world *world = node->world;
    size_t of = number_of_id (world, member->identity.id);
    if (of == SIZE_MAX)
        return;
    bool runs = world->nodes[of].swim && !is_cut (world, node->number, of) && !is_cut (world, of, node->number);
    if (member->state == SWIM_DEAD && is_usable (world_view (world, node->number, of)) && runs)
        world->false_deaths++;
    set_view (world, node->number, of, member->state);
}

enum swim_state world_view (const struct world *world, size_t at, size_t of)
{
    return (enum swim_state) world->views[pair (world, at, of)];
}

size_t world_known (const struct world *world, size_t of)
{
    return world->known[of];
}

size_t world_usable (const struct world *world, size_t of)
{
    return world->usable[of];
}

bool world_is_whole (const struct world *world)
{
    size_t running = 0;
    for (size_t number = 0; number < world->options.nodes; number++)
        running += world->nodes[number].swim != NULL;
    for (size_t number = 0; number < world->options.nodes; number++)
        if (world->usable[number] != (world->nodes[number].swim ? running : 0))
            return false;
    return true;
}

/* A node that has stopped believes nothing. */
static void clear_views (struct world *world, size_t at)
{
    for (size_t of = 0; of < world->options.nodes; of++)
        set_view (world, at, of, SWIM_DEAD);
}

/* ----------------------------------------------------------------------------------------------------------- nodes */

static uint64_t milliseconds (const struct world *world)
{
    return world->now / WORLD_MS;
}

static void tick (struct world *world, struct world_node *node)
{
    uint64_t due = swim_tick (node->swim, milliseconds (world)) * WORLD_MS;
    if (due <= world->now)
        due = world->now + WORLD_MS;
    if (node->due > world->now && node->due <= due)
        return; /* an event comes early enough, and will ask again */
    node->due = due;
    push (world, (struct event){.time = due, .kind = EVENT_TICK, .to = (uint32_t) node->number});
}

static void describe (const struct world_node *node, struct swim_identity *identity)
{
    static const char hexadecimal[] = "0123456789abcdef";
    *identity = (struct swim_identity){.port = 9001, .gossip_port = WORLD_PORT, .manager = node->number % 3 == 0};
    world_id (node->number, identity->id);
    world_address (node->number, identity->address);
    identity->instance = (uint64_t) ((int64_t) milliseconds (node->world) + INT64_C (1700000000000) + node->wall_clock);
    snprintf (identity->name, sizeof identity->name, "worker-%zu.example", node->number);
    snprintf (identity->version, sizeof identity->version, "0.1.0");
    for (size_t index = 0; index < 64; index++)
        identity->tls_key[index] = hexadecimal[(node->number * 31 + index * 7) % 16];
}

void world_start (struct world *world, size_t number, size_t first, size_t last)
{
    static const struct swim_callbacks callbacks = {.send = on_send, .changed = on_changed};
    struct world_node *node = &world->nodes[number];
    struct swim_identity identity;
    describe (node, &identity);
    node->swim =
        swim_new (&world->options.parameters, &identity, &callbacks, node, milliseconds (world), world_random (world));
    node->due = 0;
    set_view (world, number, number, SWIM_ALIVE);
    for (size_t other = first; other <= last && first <= last; other++)
    {
        char address[65];
        world_address (other, address);
        if (other != number)
            swim_join (node->swim, address, WORLD_PORT, milliseconds (world));
    }
    tick (world, node);
}

/* The machines' own table is filled, past what a real cluster has to go through: 1,000 nodes would have to answer a
 * million pings first. */
static void acquaint (struct world *world, size_t at, const struct swim_identity *identity, size_t of)
{
    struct message_swim_member record = {.id = slice_from (identity->id),
                                         .instance = identity->instance,
                                         .name = slice_from (identity->name),
                                         .address = slice_from (identity->address),
                                         .port = identity->port,
                                         .gossip_port = identity->gossip_port,
                                         .manager = identity->manager,
                                         .tls_key = slice_from (identity->tls_key),
                                         .version = slice_from (identity->version)};
    struct swim *swim = world->nodes[at].swim;
    table_set_state (swim, table_add (swim, &record, record.address), SWIM_ALIVE);
    set_view (world, at, of, SWIM_ALIVE);
}

void world_start_known (struct world *world, size_t count)
{
    for (size_t number = 0; number < count; number++)
        world_start (world, number, 1, 0);
    for (size_t of = 0; of < count; of++)
    {
        struct swim_identity identity;
        describe (&world->nodes[of], &identity);
        for (size_t at = 0; at < count; at++)
            if (at != of)
                acquaint (world, at, &identity, of);
    }
}

void world_crash (struct world *world, size_t number)
{
    swim_destroy (&world->nodes[number].swim);
    clear_views (world, number);
    for (size_t other = 0; world->connections && other < world->options.nodes; other++)
    {
        world->connections[pair (world, number, other)].open = false;
        world->connections[pair (world, other, number)].open = false;
    }
}

void world_leave (struct world *world, size_t number)
{
    swim_leave (world->nodes[number].swim, milliseconds (world));
    swim_tick (world->nodes[number].swim, milliseconds (world));
    world_crash (world, number);
}

void world_cut (struct world *world, size_t from, size_t to, bool cut)
{
    world->cuts[pair (world, from, to)] = cut;
    if (world->connections)
        world->connections[pair (world, from, to)].open = false;
}

void world_isolate (struct world *world, size_t number, bool isolated)
{
    for (size_t other = 0; other < world->options.nodes; other++)
    {
        world_cut (world, number, other, isolated);
        world_cut (world, other, number, isolated);
    }
}

void world_rejoin (struct world *world, size_t most)
{
    for (size_t number = 0; number < world->options.nodes; number++)
    {
        struct world_node *node = &world->nodes[number];
        if (!node->swim)
            continue;
        for (size_t index = 0; index < most; index++)
        {
            char address[65];
            size_t other = most < world->options.nodes ? world_random (world) % world->options.nodes : index;
            world_address (other, address);
            if (other != number)
                swim_join (node->swim, address, WORLD_PORT, milliseconds (world));
        }
        tick (world, node);
    }
}

static void handle (struct world *world, size_t to, const char *from, struct slice bytes)
{
    struct world_node *node = &world->nodes[to];
    if (!node->swim)
        return;
    node->received++;
    node->received_bytes += bytes.len;
    world->deliveries++;
    swim_receive (node->swim, from, bytes, milliseconds (world));
    tick (world, node);
}

void world_inject (struct world *world, size_t to, const char *from, struct slice bytes)
{
    handle (world, to, from, bytes);
}

/* ------------------------------------------------------------------------------------------------------------ time */

static void act (struct world *world, struct event *event)
{
    struct world_node *node = &world->nodes[event->to];
    if (event->kind == EVENT_TICK)
    {
        if (node->swim && node->due == event->time)
            tick (world, node);
        return;
    }
    if (event->kind == EVENT_ARRIVE)
    {
        if (world->connections)
            world->connections[pair (world, event->from, event->to)].queued--;
        if (is_cut (world, event->from, event->to) || !node->swim)
        {
            free (event->bytes);
            return;
        }
        if (node->lateness)
        {
            event->kind = EVENT_HANDLE;
            event->time += node->lateness;
            push (world, *event);
            return;
        }
    }
    char from[65];
    world_address (event->from, from);
    handle (world, event->to, from, slice_of (event->bytes, event->length));
    free (event->bytes);
}

bool world_run (struct world *world, uint64_t time, world_condition condition, size_t argument)
{
    uint64_t end = world->now + time, asked = 0;
    while (world->count && world->heap[0].time <= end)
    {
        struct event event = pop (world);
        world->now = event.time;
        act (world, &event);
        if (!condition || world->now < asked + WORLD_MS)
            continue;
        asked = world->now;
        if (condition (world, argument))
            return true;
    }
    world->now = end;
    return condition && condition (world, argument);
}

/* ----------------------------------------------------------------------------------------------------------- world */

static void *zeroed (size_t count, size_t size)
{
    void *memory = calloc (count, size);
    if (!memory)
        abort ();
    return memory;
}

struct world *world_new (const struct world_options *options)
{
    struct world *world = zeroed (1, sizeof *world);
    world->options = *options;
    if (!options->delay_most)
    {
        world->options.delay_least = 200;
        world->options.delay_most = 1000;
    }
    world->random = options->seed;
    world->now = EPOCH;
    size_t nodes = options->nodes;
    world->nodes = zeroed (nodes, sizeof *world->nodes);
    for (size_t number = 0; number < nodes; number++)
        world->nodes[number] = (struct world_node){.world = world, .number = number};
    world->views = zeroed (nodes * nodes, 1);
    memset (world->views, SWIM_DEAD, nodes * nodes);
    world->cuts = zeroed (nodes * nodes, 1);
    world->usable = zeroed (nodes, sizeof *world->usable);
    world->known = zeroed (nodes, sizeof *world->known);
    if (options->link == WORLD_TCP)
        world->connections = zeroed (nodes * nodes, sizeof *world->connections);
    return world;
}

void world_destroy (struct world **self)
{
    struct world *world = *self;
    *self = NULL;
    if (!world)
        return;
    for (size_t number = 0; number < world->options.nodes; number++)
        swim_destroy (&world->nodes[number].swim);
    while (world->count)
        free (world->heap[--world->count].bytes);
    free (world->heap);
    free (world->nodes);
    free (world->views);
    free (world->cuts);
    free (world->usable);
    free (world->known);
    free (world->connections);
    free (world);
}

uint64_t world_now (const struct world *world)
{
    return world->now;
}

struct world_node *world_node (struct world *world, size_t number)
{
    return &world->nodes[number];
}

uint64_t world_false_deaths (const struct world *world)
{
    return world->false_deaths;
}

void world_forgive (struct world *world)
{
    world->false_deaths = 0;
}

uint64_t world_deliveries (const struct world *world)
{
    return world->deliveries;
}
