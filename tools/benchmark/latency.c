/* Latency for tools/bench: publishers and subscribers in pairs, messages at a fixed rate, QoS 0, MQTT 3.1.1.
 *
 *     latency PORT MESSAGES RATE PAIRS SIZE PATIENCE
 *
 * The contract of load.py holds. In C because Python's own delays would be as long as those it is to measure.
 * A message counts from the moment it was due, whether or not it could be sent then: a broker that stalls is charged for
 * all messages that had to wait. The due time travels in the payload. `late_p99_us` tells how late the generator itself
 * was: where it comes near the latencies, the machine was too busy to measure any.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { READ_BYTES = 65536, TOPIC_BYTES = 12, PAIRS_MOST = 1000, SIZE_MOST = 100, BACKLOG = 1 << 20 };

typedef struct {
    int fd;
    size_t length; /* of what is kept: received and not a whole packet yet, or not sent yet */
    uint8_t *kept;
} Client;

static int packet_size, payload_at, epoll;
static uint64_t *latencies, *lateness;
static long received, messages, surplus;

static void fail(const char *text)
{
    printf("{\"error\": \"%s\"}\n", text);
    exit(0);
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void read_exactly(int fd, uint8_t *data, size_t size)
{
    while (size) {
        ssize_t count = read(fd, data, size);
        if (count <= 0)
            fail("the broker closed a connection instead of answering");
        data += count;
        size -= (size_t)count;
    }
}

static void write_exactly(int fd, const uint8_t *data, size_t size)
{
    if (write(fd, data, size) != (ssize_t)size)
        fail("cannot write to the broker");
}

static Client dial(int port, char role, int number)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    uint8_t packet[64] = {0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 4, 176, 0, 0}, answer[4]; /* keep alive: 1200 s */
    Client client = {.fd = socket(AF_INET, SOCK_STREAM, 0), .kept = malloc(role == 's' ? READ_BYTES * 2 : BACKLOG)};
    struct timeval patience = {.tv_sec = 30};
    int one = 1, id = snprintf((char *)packet + 14, 32, "%c%d", role, number);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (client.fd < 0 || !client.kept || connect(client.fd, (struct sockaddr *)&address, sizeof address))
        fail("cannot connect");
    setsockopt(client.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(client.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    packet[1] = (uint8_t)(12 + id);
    packet[13] = (uint8_t)id;
    write_exactly(client.fd, packet, (size_t)(14 + id));
    read_exactly(client.fd, answer, 4);
    if (answer[0] != 0x20 || answer[3])
        fail("the broker refused a client");
    return client;
}

static void topic(uint8_t *at, int number)
{
    char text[24]; /* more than is ever needed, as far as the compiler can see */
    snprintf(text, sizeof text, "bench/%06d", number % 1000000);
    at[0] = 0;
    at[1] = TOPIC_BYTES;
    memcpy(at + 2, text, TOPIC_BYTES);
}

static void subscribe(Client *client, int number)
{
    uint8_t packet[4 + 2 + TOPIC_BYTES + 1] = {0x82, 2 + 2 + TOPIC_BYTES + 1, 0, 1}, answer[5];
    topic(packet + 4, number);
    write_exactly(client->fd, packet, sizeof packet);
    read_exactly(client->fd, answer, 5);
    if (answer[0] != 0x90 || answer[4])
        fail("the broker did not grant a subscription");
}

static void watch(Client *client, uint32_t events, int how)
{
    struct epoll_event event = {.events = events, .data.ptr = client};
    fcntl(client->fd, F_SETFL, O_NONBLOCK);
    epoll_ctl(epoll, how, client->fd, &event);
}

static void flush(Client *client)
{
    ssize_t count = write(client->fd, client->kept, client->length);
    if (count < 0 && errno != EAGAIN)
        fail("the broker closed a connection");
    if (count > 0) {
        client->length -= (size_t)count;
        memmove(client->kept, client->kept + count, client->length);
    }
}

/* Send one packet, after what could not be sent before. */
static void publish(Client *client, uint8_t *packet, uint64_t due)
{
    memcpy(packet + payload_at, &due, sizeof due);
    if (client->length + (size_t)packet_size > BACKLOG)
        fail("the broker does not read");
    memcpy(client->kept + client->length, packet, (size_t)packet_size);
    client->length += (size_t)packet_size;
    flush(client);
    if (client->length)
        watch(client, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
}

static void take(Client *client)
{
    ssize_t count = read(client->fd, client->kept + client->length, READ_BYTES);
    uint64_t time = now(), due;
    uint8_t *at = client->kept;

    if (count <= 0) {
        if (count < 0 && errno == EAGAIN)
            return;
        fail("the broker closed a connection");
    }
    client->length += (size_t)count;
    for (; client->length >= (size_t)packet_size; at += packet_size, client->length -= (size_t)packet_size) {
        if (at[0] != 0x30)
            fail("the broker sent something else than the published packets");
        memcpy(&due, at + payload_at, sizeof due);
        if (received < messages)
            latencies[received++] = time - due;
        else
            surplus++;
    }
    memmove(client->kept, at, client->length);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double percentile(uint64_t *values, long count, double part)
{
    return count ? (double)values[(long)((double)(count - 1) * part)] / 1e3 : 0;
}

int main(int count, char **arguments)
{
    if (count != 7)
        fail("latency wants PORT MESSAGES RATE PAIRS SIZE PATIENCE");
    int port = atoi(arguments[1]), pairs = atoi(arguments[4]), size = atoi(arguments[5]);
    messages = atol(arguments[2]);
    uint64_t interval = 1000000000 / (uint64_t)atol(arguments[3]), patience = (uint64_t)(atof(arguments[6]) * 1e9);
    if (pairs < 1 || pairs > PAIRS_MOST || size < 8 || size > SIZE_MOST)
        fail("1 to 1000 pairs and 8 to 100 bytes are possible");

    Client *publishers = calloc((size_t)pairs, sizeof(Client)), *subscribers = calloc((size_t)pairs, sizeof(Client));
    latencies = calloc((size_t)messages, sizeof *latencies);
    lateness = calloc((size_t)messages, sizeof *lateness);
    uint8_t packet[4 + TOPIC_BYTES + SIZE_MOST] = {0x30, (uint8_t)(2 + TOPIC_BYTES + size)};
    packet_size = 4 + TOPIC_BYTES + size;
    payload_at = 4 + TOPIC_BYTES;
    memset(packet + payload_at, 'x', (size_t)size);
    epoll = epoll_create1(0);
    for (int i = 0; i < pairs; i++) {
        subscribers[i] = dial(port, 's', i);
        subscribe(&subscribers[i], i);
        publishers[i] = dial(port, 'p', i);
        watch(&subscribers[i], EPOLLIN, EPOLL_CTL_ADD);
        watch(&publishers[i], EPOLLIN, EPOLL_CTL_ADD);
    }
    puts("{\"mark\": \"start\"}");
    fflush(stdout);
    if (getchar() == EOF)
        return 1;

    prctl(PR_SET_TIMERSLACK, 1);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    uint64_t start = now() + 1000000, heard = start, expirations, before;
    long sent = 0;
    struct timespec every = {(time_t)(interval / 1000000000), (long)(interval % 1000000000)};
    struct timespec first = {(time_t)(start / 1000000000), (long)(start % 1000000000)};
    struct itimerspec setting = {every, first};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[256];
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &setting, NULL);
    epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event);
    while (received < messages || now() - heard < 50000000) { /* a moment longer: for what comes too often */
        int ready = epoll_wait(epoll, events, 256, 20);
        long had = received + surplus;
        for (int i = 0; i < ready; i++) {
            Client *client = events[i].data.ptr;
            if (!client) {
                if (read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN)
                    fail("no timer");
                for (; sent < messages && start + (uint64_t)sent * interval <= (before = now()); sent++) {
                    uint64_t due = start + (uint64_t)sent * interval;
                    int pair = (int)(sent % pairs);
                    lateness[sent] = before - due;
                    topic(packet + 2, pair);
                    publish(&publishers[pair], packet, due);
                }
            } else if (client >= publishers && client < publishers + pairs) {
                if (events[i].events & ~(uint32_t)EPOLLOUT)
                    fail("the broker wrote to a publisher or closed its connection");
                flush(client);
                if (!client->length)
                    watch(client, EPOLLIN, EPOLL_CTL_MOD);
            } else {
                take(client);
            }
        }
        if (received + surplus != had || sent < messages)
            heard = now();
        else if (received < messages && now() - heard > patience)
            break;
    }
    qsort(latencies, (size_t)received, sizeof *latencies, compare);
    qsort(lateness, (size_t)sent, sizeof *lateness, compare);
    printf("{\"lost\": %ld, \"surplus\": %ld, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"most_us\": %.1f, "
           "\"late_p50_us\": %.1f, \"late_p99_us\": %.1f}\n",
           messages - received, surplus, percentile(latencies, received, .5), percentile(latencies, received, .99),
           percentile(latencies, received, .999), percentile(latencies, received, 1), percentile(lateness, sent, .5),
           percentile(lateness, sent, .99));
    return 0;
}
