/* A worker's shelf: what the host lays there the worker reads, and whoever has only its descriptor can
 * neither write to it nor change its size; see common/shelf.h. */
#include "common/shelf.h"

#include "tools.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct shelf host;
static int fd;

static int begin(void **state)
{
    (void)state;
    struct error error;
    fd = -1;
    return shelf_open(&host, &fd, &error) && host.bytes == SHELF_BYTES ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    shelf_close(&host);
    assert_null(host.data);
    return close(fd);
}

static void test_what_is_laid_is_read(void **state)
{
    (void)state;
    struct shelf worker;
    struct slice body;
    struct error error;
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_true(shelf_map(&worker, fd, &error));
    assert_int_equal(worker.bytes, SHELF_BYTES);
    memcpy(host.data + SHELF_BYTES - 4, "last", 4);
    assert_true(shelf_find(&worker, SHELF_BYTES - 4, 4, &body));
    assert_slice(body, "last");
    shelf_close(&worker);
    shelf_close(&worker);
}

static void test_only_the_host_writes(void **state)
{
    (void)state;
    struct shelf worker;
    struct error error;
    assert_true(shelf_map(&worker, fd, &error));
    assert_ptr_equal(mmap(NULL, SHELF_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    assert_int_equal(errno, EPERM);
    assert_int_equal(mprotect(worker.data, SHELF_BYTES, PROT_READ | PROT_WRITE), -1);
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(ftruncate(fd, SHELF_BYTES + 4096), -1);
    assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SHELF_BYTES), -1);
    assert_int_equal(madvise(worker.data, SHELF_BYTES, MADV_REMOVE), -1);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    shelf_close(&worker);
}

static void test_bodies_lie_on_it_or_nowhere(void **state)
{
    (void)state;
    static const struct {
        uint32_t at;
        uint32_t bytes;
        bool found;
    } cases[] = {
        { 0, 0, true },
        { 0, SHELF_BYTES, true },
        { SHELF_BYTES, 0, false },
        { SHELF_BYTES - 1, 1, true },
        { SHELF_BYTES - 1, 2, false },
        { 0, SHELF_BYTES + 1, false },
        { SHELF_BYTES, 1, false },
        { SHELF_BYTES + 1, 0, false },
        { 1, UINT32_MAX, false },
        { UINT32_MAX, 1, false },
        { UINT32_MAX, UINT32_MAX, false },
    };
    const struct shelf none = { 0 };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct slice body = { .size = 12345 };
        assert_int_equal(shelf_find(&host, cases[i].at, cases[i].bytes, &body), cases[i].found);
        assert_int_equal(body.size, cases[i].found ? cases[i].bytes : 12345);
        if (cases[i].found)
            assert_ptr_equal(body.data, host.data + cases[i].at);
        assert_false(shelf_find(&none, cases[i].at, cases[i].bytes, &body));
    }
}

/* As the host makes it where the kernel cannot seal it. */
static void test_an_empty_one_is_none(void **state)
{
    (void)state;
    struct shelf worker = { .bytes = 1 };
    struct error error;
    int empty = memfd_create("empty", MFD_CLOEXEC);
    assert_true(empty >= 0);
    assert_true(shelf_map(&worker, empty, &error));
    assert_null(worker.data);
    assert_int_equal(worker.bytes, 0);
    shelf_close(&worker);
    (void)close(empty);
    assert_false(shelf_map(&worker, -1, &error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_laid_is_read, begin, end),
        cmocka_unit_test_setup_teardown(test_only_the_host_writes, begin, end),
        cmocka_unit_test_setup_teardown(test_bodies_lie_on_it_or_nowhere, begin, end),
        cmocka_unit_test(test_an_empty_one_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
