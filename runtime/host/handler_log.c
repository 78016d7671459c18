/* Handlers' log lines; see handler_log.h. */
#include "host/handler_log.h"

#include "common/wire.h"

void handler_log_write(const char *consumer, unsigned lane, enum log_level level, uint64_t suppressed,
                       struct slice attributes)
{
    struct log_field fields[LOG_FIELDS_MAX];
    struct wire_attribute attribute, value;
    struct slice text = { .data = "", .size = 0 };
    size_t count = 3 + (suppressed > 0);
    (void)wire_find(attributes, WIRE_TEXT, &text);
    fields[0] = log_bytes("msg", text.data, text.size);
    fields[1] = log_text("consumer", consumer);
    fields[2] = log_unsigned("worker", lane + 1);
    fields[3] = log_suppressed(suppressed);
    while (count + 1 < LOG_FIELDS_MAX && wire_take_attribute(&attributes, &attribute) == WIRE_FRAME) {
        if (attribute.id != WIRE_KEY || wire_take_attribute(&attributes, &value) != WIRE_FRAME)
            continue;
        fields[count++] = (struct log_field){
            .key = attribute.value.data,
            .key_bytes = attribute.value.size,
            .kind = value.id == WIRE_LITERAL ? LOG_KIND_LITERAL : LOG_KIND_STRING,
            .text = value.value.data,
            .text_bytes = value.value.size,
        };
    }
    fields[count] = (struct log_field){ 0 };
    log_write(level, fields);
}
