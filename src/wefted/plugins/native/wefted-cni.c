/* Hands what a container engine says to wefted's agent, and prints what it answers. By its name it is
 *
 *   wefted-cni, wefted    a CNI plugin: environment and standard input go to the agent, its answer to standard output
 *   wefted-oci-hook       a createRuntime hook: the container's state (standard input) goes to the agent
 *   wefted-runc           an OCI runtime: runc, and before `runc create` returns what the hook does
 *
 * One request of HTTP/1.1 on a unix socket. It understands no JSON but the version of the configuration, for errors, and the
 * frame of the agent's answer. Where no agent listens, `wefted cni` (or `wefted oci-hook`) does the same by itself.
 * A file NAME.command beside the program may say where the socket is (first line) and what `wefted` is (second line).
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LARGEST_INPUT (1024 * 1024)
#define LARGEST_ANSWER (16 * 1024 * 1024)
#define NEWEST "1.1.0"
#define VERSIONS "\"0.3.0\", \"0.3.1\", \"0.4.0\", \"1.0.0\", \"1.1.0\""

enum { CODE_IO = 5, CODE_DECODING = 6, CODE_LATER = 11 };

struct buffer {
    char *data;
    size_t length, room;
};

static struct {
    char socket[sizeof(((struct sockaddr_un *)0)->sun_path)];
    char command[PATH_MAX];
    char version[32];
    bool hook;
    long patience; /* milliseconds for everything */
} settings = {.socket = "/run/wefted/wefted.sock", .command = "wefted", .version = NEWEST, .patience = 60000};

/* By this `wefted cni install` knows a program of ours from anybody else's. */
__attribute__((used)) static const char mark[] = "this program is wefted-cni";

static struct timespec deadline;

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

static void write_all(int fd, const char *data, size_t length)
{
    while (length) {
        ssize_t written = write(fd, data, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return;
        data += written;
        length -= (size_t)written;
    }
}

/* The error of the CNI specification, or for a hook a line for people; then the end. */
static void fail(int code, const char *format, ...)
{
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (settings.hook) {
        fprintf(stderr, "wefted: %s\n", message);
        exit(1);
    }
    char number[16];
    struct buffer out = {0};
    snprintf(number, sizeof number, "%d", code);
    append_text(&out, "{\"cniVersion\": ");
    append_string(&out, settings.version, strlen(settings.version));
    append_text(&out, ", \"code\": ");
    append_text(&out, number);
    append_text(&out, ", \"msg\": ");
    append_string(&out, message, strlen(message));
    append_text(&out, ", \"details\": \"see whether the agent runs: wefted status\"}\n");
    write_all(STDOUT_FILENO, out.data, out.length);
    exit(1);
}

/* -- the version of the configuration -------------------------------------------------------------------------------- */

/* Return the end of a string that begins at `at` (its first quote), or `end` if it has none. */
static const char *end_of_string(const char *at, const char *end)
{
    for (at++; at < end && *at != '"'; at++)
        if (*at == '\\')
            at++;
    return at < end ? at : end;
}

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && isspace((unsigned char)*at))
        at++;
    return at;
}

/* Find "cniVersion": "..." in the outermost object. What is not JSON has none, which is no error here: the agent says it. */
static void find_version(const struct buffer *config)
{
    const char *end = config->data + config->length;
    int depth = 0;
    for (const char *at = config->data; at < end; at++) {
        if (*at == '{' || *at == '[')
            depth++;
        else if (*at == '}' || *at == ']')
            depth--;
        if (*at != '"')
            continue;
        const char *word = at + 1;
        at = end_of_string(at, end);
        if (depth != 1 || at - word != 10 || memcmp(word, "cniVersion", 10))
            continue;
        const char *colon = at < end ? skip_space(at + 1, end) : end;
        const char *quote = colon < end && *colon == ':' ? skip_space(colon + 1, end) : end;
        if (quote >= end || *quote != '"')
            continue;
        const char *close = end_of_string(quote, end);
        size_t length = (size_t)(close - quote - 1);
        if (close < end && length && length < sizeof settings.version) {
            memcpy(settings.version, quote + 1, length);
            settings.version[length] = '\0';
        }
        return;
    }
}

/* -- input and the agent --------------------------------------------------------------------------------------------- */

static long milliseconds_left(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long left = (deadline.tv_sec - now.tv_sec) * 1000 + (deadline.tv_nsec - now.tv_nsec) / 1000000;
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
        fail(CODE_LATER, "%s within %ld ms", what, settings.patience);
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
    memcpy(address.sun_path, settings.socket, sizeof address.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail(CODE_IO, "socket: %s", strerror(errno));
    struct timeval patience = {.tv_sec = settings.patience / 1000, .tv_usec = settings.patience % 1000 * 1000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* connect(2) waits as long as a send */
    if (!connect(fd, (struct sockaddr *)&address, sizeof address))
        return fd;
    int error = errno;
    close(fd);
    if (error == EAGAIN || error == EINTR)
        fail(CODE_LATER, "the agent takes no connection on %s", settings.socket);
    if (error != ENOENT && error != ECONNREFUSED && error != ENOTDIR)
        fail(CODE_IO, "cannot use the socket %s: %s", settings.socket, strerror(error));
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

/* Ask for `path` with a body, and return the body of the answer; NUL-terminated. */
static struct buffer ask(int fd, const char *path, const struct buffer *body)
{
    char head[256];
    int length = snprintf(head, sizeof head,
                          "POST /v1/%s HTTP/1.1\r\nHost: wefted\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", path,
                          body->length);
    send_all(fd, head, (size_t)length);
    send_all(fd, body->data, body->length);
    struct buffer answer = {0};
    read_all(fd, &answer, LARGEST_ANSWER, "the agent does not answer");
    append(&answer, "", 1);
    char *start = strstr(answer.data, "\r\n\r\n");
    if (strncmp(answer.data, "HTTP/1.1 200", 12) || !start)
        fail(CODE_LATER, answer.length > 1 ? "the agent gave an answer that is not understood" : "the agent ended");
    start += 4;
    answer.length -= (size_t)(start - answer.data) + 1;
    memmove(answer.data, start, answer.length + 1);
    return answer;
}

/* Print what stands in {"exit_code": N, "output": ...}, and return N. */
static int print_answer(const struct buffer *answer, int fd)
{
    int code = -1, start = 0;
    if (sscanf(answer->data, "{\"exit_code\": %3d, \"output\": %n", &code, &start) < 1 || !start || code < 0 ||
        strlen(answer->data) != answer->length || answer->data[answer->length - 1] != '}')
        fail(CODE_LATER, "the agent gave an answer that is not understood");
    size_t length = answer->length - (size_t)start - 1;
    if (length == 4 && !memcmp(answer->data + start, "null", 4))
        return code;
    write_all(fd, answer->data + start, length);
    write_all(fd, "\n", 1);
    return code;
}

/* -- what this program does ------------------------------------------------------------------------------------------ */

static void load_settings(void)
{
    const char *runtime = getenv("WEFTED_RUNTIME_DIR"), *patience = getenv("WEFTED_CNI_PATIENCE_MS");
    char path[PATH_MAX], file[PATH_MAX + 16], line[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length > 0) {
        path[length] = '\0';
        snprintf(file, sizeof file, "%s.command", path);
        FILE *told = fopen(file, "re");
        if (told) {
            if (fgets(line, sizeof line, told) && strcspn(line, "\n") < sizeof settings.socket) {
                line[strcspn(line, "\n")] = '\0';
                strcpy(settings.socket, line);
            }
            if (fgets(line, sizeof line, told)) {
                line[strcspn(line, "\n")] = '\0';
                strcpy(settings.command, line);
            }
            fclose(told);
        }
    }
    if (runtime && *runtime && strlen(runtime) + sizeof "/wefted.sock" <= sizeof settings.socket)
        snprintf(settings.socket, sizeof settings.socket, "%.80s/wefted.sock", runtime);
    if (patience && atol(patience) > 0 && atol(patience) < 3600000)
        settings.patience = atol(patience);
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += settings.patience / 1000;
    deadline.tv_nsec += settings.patience % 1000 * 1000000;
}

/* Return a descriptor from which what was read can be read again. */
static void put_back(const struct buffer *input)
{
    int fd = memfd_create("input", 0);
    if (fd < 0)
        fail(CODE_IO, "memfd_create: %s", strerror(errno));
    write_all(fd, input->data, input->length);
    lseek(fd, 0, SEEK_SET);
    dup2(fd, STDIN_FILENO);
    close(fd);
}

static int by_itself(const struct buffer *input, const char *word)
{
    put_back(input);
    char *arguments[] = {settings.command, (char *)word, NULL};
    execvp(settings.command, arguments);
    fail(CODE_LATER, "no agent listens on %s, and %s cannot be run: %s", settings.socket, settings.command, strerror(errno));
}

static int hand_over(const struct buffer *input, const char *path, int out, bool may_exec)
{
    int fd = connect_agent();
    if (fd < 0) {
        if (may_exec)
            return by_itself(input, path);
        pid_t child = fork();
        if (child == 0) {
            dup2(STDERR_FILENO, STDOUT_FILENO);
            by_itself(input, path);
        }
        int status = 0;
        if (child < 0 || waitpid(child, &status, 0) < 0)
            fail(CODE_IO, "fork: %s", strerror(errno));
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    }
    static const char *const variables[] = {"CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS",
                                            "CNI_IFNAME",  "CNI_ARGS",        "CNI_PATH"};
    struct buffer body = {0};
    bool first = true;
    append_text(&body, "{\"environment\": {");
    for (size_t i = 0; !settings.hook && i < sizeof variables / sizeof *variables; i++) {
        const char *value = getenv(variables[i]);
        if (!value)
            continue;
        append_text(&body, first ? "" : ", ");
        append_string(&body, variables[i], strlen(variables[i]));
        append_text(&body, ": ");
        append_string(&body, value, strlen(value));
        first = false;
    }
    append_text(&body, "}, \"input\": ");
    append_string(&body, input->data, input->length);
    append_text(&body, "}");
    struct buffer answer = ask(fd, path, &body);
    close(fd);
    int code = print_answer(&answer, out);
    free(body.data);
    free(answer.data);
    return code;
}

static int plugin(void)
{
    const char *command = getenv("CNI_COMMAND");
    struct buffer input = {0};
    read_all(STDIN_FILENO, &input, LARGEST_INPUT, "the configuration does not come");
    append(&input, "", 1); /* so that there is something to point at, and an end */
    input.length--;
    if (input.length > LARGEST_INPUT)
        fail(CODE_DECODING, "the configuration has more than %d bytes", LARGEST_INPUT);
    find_version(&input);
    int code = 0;
    if (command && !strcmp(command, "VERSION")) {
        struct buffer out = {0};
        append_text(&out, "{\"cniVersion\": ");
        append_string(&out, settings.version, strlen(settings.version));
        append_text(&out, ", \"supportedVersions\": [" VERSIONS "]}\n");
        write_all(STDOUT_FILENO, out.data, out.length);
        free(out.data);
    } else {
        code = hand_over(&input, "cni", STDOUT_FILENO, true);
    }
    free(input.data);
    return code;
}

static int hook(void)
{
    struct buffer input = {0};
    read_all(STDIN_FILENO, &input, LARGEST_INPUT, "the container's state does not come");
    append(&input, "", 1);
    input.length--;
    int code = hand_over(&input, "oci-hook", STDERR_FILENO, true);
    free(input.data);
    return code;
}

/* -- the runtime ----------------------------------------------------------------------------------------------------- */

static const char *value_of(char **arguments, const char *name)
{
    size_t length = strlen(name);
    for (; *arguments; arguments++) {
        if (!strcmp(*arguments, name) && arguments[1])
            return arguments[1];
        if (!strncmp(*arguments, name, length) && (*arguments)[length] == '=')
            return *arguments + length + 1;
    }
    return NULL;
}

static int run(char **arguments)
{
    pid_t child = fork();
    if (child == 0) {
        execvp(arguments[0], arguments);
        fprintf(stderr, "wefted: cannot run %s: %s\n", arguments[0], strerror(errno));
        _exit(127);
    }
    int status = 0;
    while (child > 0 && waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return 1;
    return child > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* `runc create` makes the container and stops before its first instruction, which `runc start` lets it do. */
static int runtime(int count, char **arguments)
{
    const char *real = getenv("WEFTED_RUNTIME");
    arguments[0] = (char *)(real && *real ? real : "runc");
    bool creates = false;
    for (int i = 1; i < count; i++)
        creates = creates || !strcmp(arguments[i], "create");
    const char *bundle = value_of(arguments, "--bundle"), *file = value_of(arguments, "--pid-file");
    if (!creates || !bundle || !file || count < 3) {
        execvp(arguments[0], arguments);
        fail(CODE_IO, "cannot run %s: %s", arguments[0], strerror(errno));
    }
    int code = run(arguments);
    if (code)
        return code;
    const char *identifier = arguments[count - 1];
    long pid = 0;
    FILE *told = fopen(file, "re");
    if (!told || fscanf(told, "%ld", &pid) != 1)
        fail(CODE_IO, "cannot read %s: %s", file, strerror(errno));
    fclose(told);
    char number[32];
    struct buffer state = {0};
    snprintf(number, sizeof number, "%ld", pid);
    append_text(&state, "{\"ociVersion\": \"1.0.2\", \"status\": \"created\", \"id\": ");
    append_string(&state, identifier, strlen(identifier));
    append_text(&state, ", \"pid\": ");
    append_text(&state, number);
    append_text(&state, ", \"bundle\": ");
    append_string(&state, bundle, strlen(bundle));
    append_text(&state, "}");
    code = hand_over(&state, "oci-hook", STDERR_FILENO, false);
    if (code) { /* who created it must not find half of it */
        const char *root = value_of(arguments, "--root");
        char *delete[] = {arguments[0], "--root", (char *)root, "delete", "--force", (char *)identifier, NULL};
        char *plain[] = {arguments[0], "delete", "--force", (char *)identifier, NULL};
        run(root ? delete : plain);
    }
    free(state.data);
    return code;
}

int main(int count, char **arguments)
{
    const char *slash = count > 0 ? strrchr(arguments[0], '/') : NULL;
    const char *name = count > 0 ? (slash ? slash + 1 : arguments[0]) : "";
    load_settings();
    settings.hook = strstr(name, "oci-hook") || strstr(name, "runc");
    if (strstr(name, "runc"))
        return runtime(count, arguments);
    return settings.hook ? hook() : plugin();
}
