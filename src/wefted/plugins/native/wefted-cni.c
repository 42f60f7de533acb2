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
#include "agent.h"

#include <ctype.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define LARGEST_INPUT (1024 * 1024)
#define NEWEST "1.1.0"
#define VERSIONS "\"0.3.0\", \"0.3.1\", \"0.4.0\", \"1.0.0\", \"1.1.0\""

static struct {
    char command[PATH_MAX];
    char version[32];
    bool hook;
} settings = {.command = "wefted", .version = NEWEST};

/* By this `wefted cni install` knows a program of ours from anybody else's. */
__attribute__((used)) static const char mark[] = "this program is wefted-cni";

/* -- output ------------------------------------------------------------------------------------------------------------ */

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
    const char *patience = getenv("WEFTED_CNI_PATIENCE_MS");
    char path[PATH_MAX], file[PATH_MAX + 16], line[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length > 0) {
        path[length] = '\0';
        snprintf(file, sizeof file, "%s.command", path);
        FILE *told = fopen(file, "re");
        if (told) {
            if (fgets(line, sizeof line, told) && strcspn(line, "\n") < sizeof agent.socket) {
                line[strcspn(line, "\n")] = '\0';
                strcpy(agent.socket, line);
            }
            if (fgets(line, sizeof line, told)) {
                line[strcspn(line, "\n")] = '\0';
                strcpy(settings.command, line);
            }
            fclose(told);
        }
    }
    if (patience && atol(patience) > 0 && atol(patience) < 3600000)
        agent.patience = atol(patience);
    begin();
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
    fail(CODE_LATER, "no agent listens on %s, and %s cannot be run: %s", agent.socket, settings.command, strerror(errno));
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
    struct buffer answer = {0};
    if (ask(fd, path, &body, &answer) != 200)
        fail(CODE_LATER, "the agent gave an answer that is not understood");
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
