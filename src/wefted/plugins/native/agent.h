/* One request to wefted's agent: HTTP/1.1 on its unix socket, with a limit in time and size for everything.
 *
 * Each of our programs is one file that includes this one, and says what becomes of a failure.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LARGEST_ANSWER (16 * 1024 * 1024)

enum { CODE_IO = 5, CODE_DECODING = 6, CODE_LATER = 11 }; /* of the CNI specification */

struct buffer {
    char *data;
    size_t length, room;
};

static struct {
    char socket[sizeof(((struct sockaddr_un *)0)->sun_path)];
    long patience; /* milliseconds for everything */
    struct timespec deadline;
} agent = {.socket = "/run/wefted/wefted.sock", .patience = 60000};

static _Noreturn void fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* -- text ------------------------------------------------------------------------------------------------------------ */

static void append(struct buffer *buffer, const char *data, size_t length)
{
    if (length > buffer->room - buffer->length) {
        size_t room = buffer->room ? buffer->room : 4096;
        while (length > room - buffer->length)
            room *= 2;
        char *grown = realloc(buffer->data, room);
        if (!grown)
            fail(CODE_IO, "out of memory");
        buffer->data = grown;
        buffer->room = room;
    }
    if (length)
        memcpy(buffer->data + buffer->length, data, length);
    buffer->length += length;
}

static void append_text(struct buffer *buffer, const char *text)
{
    append(buffer, text, strlen(text));
}

/* A JSON string with one character for each byte: whatever the bytes are, the agent gets them as they came. */
static void append_string(struct buffer *buffer, const char *data, size_t length)
{
    append_text(buffer, "\"");
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)data[i];
        if (byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\') {
            append(buffer, data + i, 1);
        } else {
            char escaped[8];
            snprintf(escaped, sizeof escaped, "\\u%04x", byte);
            append(buffer, escaped, 6);
        }
    }
    append_text(buffer, "\"");
}

/* -- the agent ----------------------------------------------------------------------------------------------------- */

static long milliseconds_left(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long left = (agent.deadline.tv_sec - now.tv_sec) * 1000 + (agent.deadline.tv_nsec - now.tv_nsec) / 1000000;
    return left > 0 ? left : 0;
}

static void wait_for(int fd, short events, const char *what)
{
    struct pollfd waiting = {.fd = fd, .events = events};
    int found;
    do
        found = poll(&waiting, 1, (int)milliseconds_left());
    while (found < 0 && errno == EINTR);
    if (found == 0)
        fail(CODE_LATER, "%s within %ld ms", what, agent.patience);
    if (found < 0)
        fail(CODE_IO, "poll: %s", strerror(errno));
}

/* Read to the end of input, or until there are more than `most` bytes. */
static void read_all(int fd, struct buffer *buffer, size_t most, const char *what)
{
    char chunk[65536];
    while (buffer->length <= most) {
        wait_for(fd, POLLIN, what);
        ssize_t length = read(fd, chunk, sizeof chunk);
        if (length < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (length < 0)
            fail(CODE_IO, "%s: %s", what, strerror(errno));
        if (length == 0)
            return;
        append(buffer, chunk, (size_t)length);
    }
}

/* Return a connection to the agent, or -1 where none listens. A full queue means that it does. */
static int connect_agent(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, agent.socket, sizeof address.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail(CODE_IO, "socket: %s", strerror(errno));
    struct timeval patience = {.tv_sec = agent.patience / 1000, .tv_usec = agent.patience % 1000 * 1000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* connect(2) waits as long as a send */
    if (!connect(fd, (struct sockaddr *)&address, sizeof address))
        return fd;
    int error = errno;
    close(fd);
    if (error == EAGAIN || error == EINTR)
        fail(CODE_LATER, "the agent takes no connection on %s", agent.socket);
    if (error != ENOENT && error != ECONNREFUSED && error != ENOTDIR)
        fail(CODE_IO, "cannot use the socket %s: %s", agent.socket, strerror(error));
    return -1;
}

static void send_all(int fd, const char *data, size_t length)
{
    while (length) {
        wait_for(fd, POLLOUT, "the agent does not take the request");
        ssize_t sent = send(fd, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (sent < 0)
            fail(CODE_LATER, "the agent ended: %s", strerror(errno));
        data += sent;
        length -= (size_t)sent;
    }
}

/* Begin: from now on there are `patience` milliseconds. WEFTED_RUNTIME_DIR says where the agent's socket is. */
static void begin(void)
{
    const char *runtime = getenv("WEFTED_RUNTIME_DIR");
    if (runtime && *runtime && strlen(runtime) + sizeof "/wefted.sock" <= sizeof agent.socket)
        snprintf(agent.socket, sizeof agent.socket, "%.80s/wefted.sock", runtime);
    clock_gettime(CLOCK_MONOTONIC, &agent.deadline);
    agent.deadline.tv_sec += agent.patience / 1000;
    agent.deadline.tv_nsec += agent.patience % 1000 * 1000000;
}

/* Ask for `path` with a body; put the body of the answer, NUL-terminated, into `answer`, and return its status. */
static int ask(int fd, const char *path, const struct buffer *body, struct buffer *answer)
{
    char head[256];
    int status = 0;
    int length = snprintf(head, sizeof head,
                          "POST /v1/%s HTTP/1.1\r\nHost: wefted\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", path,
                          body->length);
    send_all(fd, head, (size_t)length);
    send_all(fd, body->data, body->length);
    read_all(fd, answer, LARGEST_ANSWER, "the agent does not answer");
    append(answer, "", 1);
    char *start = strstr(answer->data, "\r\n\r\n");
    if (sscanf(answer->data, "HTTP/1.1 %3d", &status) != 1 || !start)
        fail(CODE_LATER, answer->length > 1 ? "the agent gave an answer that is not understood" : "the agent ended");
    start += 4;
    answer->length -= (size_t)(start - answer->data) + 1;
    memmove(answer->data, start, answer->length + 1);
    return status;
}
