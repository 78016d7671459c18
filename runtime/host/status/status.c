/* Where to listen, and what is found under which path; see status.h. */
#include "host/status/status.h"

#include "common/log.h"
#include "common/scripts.h"
#include "host/program.h"
#include "host/status/health.h"
#include "host/status/metrics.h"
#include "host/status/report.h"

static const int64_t keep_ns = CLOCK_NS_PER_SECOND / 10;

static const char text_plain[] = "text/plain; charset=utf-8";

/* One that was just written, or a new one. */
static struct document *written(struct status_kept *kept, const struct program *program,
                                void (*write)(const struct program *program, struct buffer *to))
{
    int64_t now_ns = clock_now_ns();
    if (!kept->document || now_ns - kept->written_ns >= keep_ns) {
        struct document *document = document_new(STATUS_DOCUMENT_MAX);
        if (!document)
            return NULL;
        write(program, &document->text);
        document_seal(document);
        document_release(kept->document);
        *kept = (struct status_kept){ .document = document, .written_ns = now_ns };
    }
    kept->document->users++;
    return kept->document;
}

/* Half a document is none. */
static void set_kept(struct answer *answer, const char *type, struct document *document)
{
    answer->code = document && document->text.failed ? 500 : 200;
    answer->type = answer->code == 200 ? type : text_plain;
    answer->document = document;
    if (answer->code == 500)
        document->bytes = slice_of("the document is too large\n");
}

static void respond_metrics(struct status *status, struct answer *answer)
{
    set_kept(answer, "text/plain; version=0.0.4; charset=utf-8",
             written(&status->metrics, status->program, metrics_write));
}

static void respond_report(struct status *status, struct answer *answer)
{
    set_kept(answer, "application/json", written(&status->report, status->program, report_write));
}

static void respond_page(struct status *status, struct answer *answer)
{
    (void)status;
    answer->code = 200;
    answer->type = "text/html; charset=utf-8";
    answer->document = document_new(0);
    if (answer->document)
        answer->document->bytes =
            (struct slice){ .data = script_status_html, .size = script_status_html_size };
}

static void respond_health(struct status *status, struct answer *answer)
{
    (void)status;
    answer->code = 200;
    answer->type = text_plain;
    answer->document = document_new(0);
    if (answer->document)
        answer->document->bytes = slice_of("alive\n");
}

static void respond_readiness(struct status *status, struct answer *answer)
{
    answer->type = text_plain;
    answer->document = document_new(STATUS_DOCUMENT_MAX);
    if (!answer->document)
        return;
    answer->code = health_is_ready(status->program, &answer->document->text) ? 200 : 503;
    (void)buffer_append_text(&answer->document->text, "\n");
    document_seal(answer->document);
}

static void respond(void *owner, struct slice path, struct answer *answer)
{
    static const struct {
        const char *path;
        void (*respond)(struct status *status, struct answer *answer);
    } routes[] = {
        { "/", respond_page },          { "/metrics", respond_metrics },  { "/status", respond_report },
        { "/healthz", respond_health }, { "/readyz", respond_readiness },
    };
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (slice_equals(path, routes[i].path))
            routes[i].respond(owner, answer);
    }
}

bool status_start(struct status *status, struct program *program, const struct config *config,
                  struct error *error)
{
    const char *listen = config->status.listen;
    *status = (struct status){ .program = program };
    if (!listen)
        return true;
    status->server.respond = respond;
    status->server.owner = status;
    if (server_open(&status->server, program->loop, listen, error)) {
        log_info(log_message("status listens"), log_text("address", status->server.name));
        return true;
    }
    if (config->status.explicit)
        return false;
    log_warning(log_message("no status page and no metrics: the default port cannot be had"),
                log_text("error", error->text));
    return true;
}

void status_stop(struct status *status)
{
    server_close(&status->server);
    document_release(status->metrics.document);
    document_release(status->report.document);
    *status = (struct status){ 0 };
}

unsigned status_sockets(const struct status *status)
{
    return status->server.loop ? status->server.client_count + 1 : 0;
}
