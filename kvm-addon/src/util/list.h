/* Circular doubly linked lists whose links are part of the elements. */
#ifndef TSVM_LIST_H
#define TSVM_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The head of a list, or the link of an element, which is in at most one list by it. */
struct list {
    struct list *next;
    struct list *previous;
};

/* The element of `type` that has the link `link` as its `member`. */
#define LIST_ELEMENT(link, type, member)                                                           \
    ((type *)(void *)((uint8_t *)(link)-offsetof(type, member)))

/* An empty list, or a link that is in no list. */
static inline void list_init(struct list *list)
{
    list->next = list->previous = list;
}

static inline bool list_is_empty(const struct list *list)
{
    return list->next == list;
}

static inline void list_append(struct list *list, struct list *link)
{
    link->next = list;
    link->previous = list->previous;
    list->previous->next = link;
    list->previous = link;
}

/* Takes a link out of its list. Does nothing if it is in none. */
static inline void list_remove(struct list *link)
{
    link->previous->next = link->next;
    link->next->previous = link->previous;
    list_init(link);
}

#endif
