/*
 * Word to the service manager.
 */
#ifndef HG_CTL_NOTIFY_H
#define HG_CTL_NOTIFY_H

/* Sends a message such as "READY=1" to $NOTIFY_SOCKET (sd_notify(3), "Notes": the protocol). Does
 * nothing where that is not set. Nobody to tell is no error. */
void hg_notify(const char *message);

#endif
