/* A classic command line under its own name: its words go to wefted's agent, which says what to print and what to exit with.
 *
 * Where no agent listens, where a settings file says something, and for what has to be done in this very process, it becomes
 * the Python that does the same. `wefted compat install` appends to this program what it needs for that, a line each: the
 * interpreter, the directory of the package, the name of the classic.
 */
#include "agent.h"

#define MARK "\n# a classic command of wefted; made and removed by `wefted compat`\n"
#define TRAILER 16384 /* bytes at the end of the program in which the mark and three paths stand */
#define ELSEWHERE (-1)

static const char CODE[] = "import sys; sys.path.insert(0, sys.argv.pop(1)); from wefted.cli.classic import leave, run;"
                           "leave(run(sys.argv.pop(1)))";

static struct {
    char text[TRAILER + 1];
    char *interpreter, *home, *name;
} self = {.name = "wefted"};

/* Exit as the error tree of wefted says for an agent that is not reachable. */
static void fail(int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", self.name);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    (void)code;
    exit(3);
}

/* Read what was appended to this program. */
static void know_thyself(void)
{
    FILE *program = fopen("/proc/self/exe", "re");
    if (!program)
        fail(CODE_IO, "cannot read /proc/self/exe: %s", strerror(errno));
    fseek(program, 0, SEEK_END);
    long size = ftell(program);
    fseek(program, size > TRAILER ? size - TRAILER : 0, SEEK_SET);
    size_t length = fread(self.text, 1, TRAILER, program);
    fclose(program);
    char *found = NULL, *end = self.text + length;
    for (char *at = self.text; (at = memmem(at, (size_t)(end - at), MARK, sizeof MARK - 1)); at++)
        found = at;
    char **const lines[] = {&self.interpreter, &self.home, &self.name};
    char *rest = found ? found + sizeof MARK - 1 : "";
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char *line = strsep(&rest, "\n");
        if (!rest)
            fail(CODE_IO, "this program is not whole; put it in its place again: wefted compat install DIR");
        *lines[i] = line;
    }
}

static _Noreturn void become_python(int count, char **arguments)
{
    char **words = calloc((size_t)count + 7, sizeof *words);
    if (!words)
        fail(CODE_IO, "out of memory");
    char *const first[] = {self.interpreter, "-I", "-S", "-c", (char *)CODE, self.home, self.name};
    memcpy(words, first, sizeof first);
    memcpy(words + sizeof first / sizeof *first, arguments + 1, (size_t)(count > 1 ? count - 1 : 0) * sizeof *words);
    execv(self.interpreter, words);
    free(words);
    fail(CODE_IO, "cannot run %s: %s", self.interpreter, strerror(errno));
}

/* A settings file may say anything; that is not for this program. */
static bool has_settings(void)
{
    const char *path = getenv("WEFTED_CONFIG");
    return access(path ? path : "/etc/wefted/wefted.toml", F_OK) == 0;
}

/* Write the JSON string that begins at `at` to a file, a byte for each character; return what follows it, or NULL. */
static const char *print_string(const char *at, FILE *out)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    if (*at++ != '"')
        return NULL;
    for (; *at && *at != '"'; at++) {
        unsigned byte;
        const char *name;
        if (*at != '\\')
            putc(*at, out);
        else if (*++at && (name = strchr(names, *at)))
            putc(values[name - names], out);
        else if (sscanf(at, "u00%2x", &byte) == 1) {
            putc((int)byte, out);
            at += 4;
        } else
            return NULL;
    }
    return *at ? at + 1 : NULL;
}

/* Print what stands in {"exit_code": N, "output": [OUT, ERROR]}, and return N; nothing is printed of `ELSEWHERE`. */
static int print_answer(const struct buffer *answer)
{
    int code = 0, start = 0;
    if (sscanf(answer->data, "{\"exit_code\": %3d, \"output\": %n", &code, &start) < 1 || !start)
        fail(CODE_LATER, "the agent gave an answer that is not understood");
    if (code == ELSEWHERE)
        return code;
    const char *at = answer->data + start;
    at = *at == '[' ? print_string(at + 1, stdout) : NULL;
    at = at && !strncmp(at, ", ", 2) ? print_string(at + 2, stderr) : NULL;
    if (!at || strcmp(at, "]}") || strlen(answer->data) != answer->length || fflush(stdout))
        fail(CODE_LATER, "the agent gave an answer that is not understood");
    return code;
}

int main(int count, char **arguments)
{
    know_thyself();
    agent.patience = 120000;
    begin();
    int fd = count < 1 || has_settings() ? -1 : connect_agent();
    if (fd < 0)
        become_python(count, arguments);
    struct buffer words = {0}, body = {0}, answer = {0};
    for (int i = 1; i < count; i++)
        append(&words, arguments[i], strlen(arguments[i]) + 1);
    append_text(&body, "{\"input\": ");
    append_string(&body, words.data, words.length);
    append_text(&body, "}");
    int status = ask(fd, self.name, &body, &answer);
    close(fd);
    if (status == 404) /* an agent that is older than this program */
        become_python(count, arguments);
    if (status != 200)
        fail(CODE_LATER, "the agent gave an answer that is not understood");
    int code = print_answer(&answer);
    if (code == ELSEWHERE)
        become_python(count, arguments);
    free(words.data);
    free(body.data);
    free(answer.data);
    return code;
}
