// Connections from the host, until their first frame says what they are for.
#pragma once

int incoming_open(void);
