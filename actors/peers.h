/* peers.h - how to ask another agent. */
#pragma once

/* In the place of a member's id in `request`: any manager, the own node excepted. */
#define PEERS_MANAGER "manager"
