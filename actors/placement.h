/* placement.h - the list of actors, which reactor each lives on, and what several of them do alike. */
#pragma once

#include "actor.h"

#include <jansson.h>

enum
{
    CONSOLE_STOP_LEAD_TIME = 1000, /* ms before a stopping agent cuts what still lives: consoles are closed */
};

extern const struct actor_class ingress_class, auth_class, router_class, docker_class, peers_class, gather_class,
    console_class, host_class, membership_class, control_class, tap_class;

/* The placement table of the agent. */
extern const struct placement placement_table[];
extern const size_t placement_rows;

/* Answers inspect: sends the object's text as a report, and takes the object (NULL reports an empty one). */
void actor_report (struct actor *actor, enum actor_id to, json_t *state);

/* A whole answer made by the agent: head, body and end. type and body may be empty; allow is a method or NULL. */
void answer (struct actor *actor, enum actor_id to, const struct subject *subject, unsigned status, struct slice type,
             struct slice body, const char *allow);

/* The contract's JSON error (3.3): `message` and `details`, an empty one left out. */
void answer_error (struct actor *actor, enum actor_id to, const struct subject *subject, unsigned status,
                   const char *message, const char *details);

/* 503 in plain text: another agent cannot be reached for a console (contract 5.6). */
void answer_unavailable (struct actor *actor, enum actor_id to, const struct subject *subject);

/* answer_error() with one more header field. */
void answer_refusal (struct actor *actor, enum actor_id to, const struct subject *subject, unsigned status,
                     const char *message, const char *details, struct header field);
