/*
 * decorate_time: how fast list elements are decorated, beside how fast jansson decodes the same text.
 *
 * The text is a list of CONTAINERS containers as an engine sends them; it is fed in pieces of 64 KiB, as they come from
 * a socket. Both are measured in turn; each figure is the median of ROUNDS. Prints megabytes of input a second for
 * both, and how many times faster decorating is.
 */

#include "http/json_list.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum
{
    CONTAINERS = 1000,
    ROUNDS = 31,
    PIECE = 64 * 1024
};

static double cpu_ns (void)
{
    struct timespec now;
    clock_gettime (CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double) now.tv_sec * 1e9 + (double) now.tv_nsec;
}

static int compare (const void *one, const void *other)
{
    double left = *(const double *) one, right = *(const double *) other;
    return (left > right) - (left < right);
}

static void write_container (FILE *out, int number)
{
    fprintf (out, "{\"Id\":\"%064x\",\"Names\":[\"/shop_web.%d.%025x\"],", number * 7919, number, number * 104729);
    fprintf (out, "\"Image\":\"registry.example.com/shop/web:1.%d@sha256:%064x\",", number, number * 31);
    fprintf (out, "\"ImageID\":\"sha256:%064x\",\"Command\":\"/docker-entrypoint.sh nginx -g 'daemon off;'\",", number);
    fprintf (out,
             "\"Created\":17000%05d,\"Ports\":[{\"IP\":\"0.0.0.0\",\"PrivatePort\":80,\"PublicPort\":%d,"
             "\"Type\":\"tcp\"},{\"IP\":\"::\",\"PrivatePort\":80,\"PublicPort\":%d,\"Type\":\"tcp\"}],",
             number, 8000 + number, 8000 + number);
    fprintf (out,
             "\"Labels\":{\"com.docker.stack.namespace\":\"shop\",\"com.docker.swarm.node.id\":\"%025x\","
             "\"com.docker.swarm.service.id\":\"%025x\",\"com.docker.swarm.service.name\":\"shop_web\","
             "\"com.docker.swarm.task\":\"\",\"com.docker.swarm.task.name\":\"shop_web.%d.%025x\","
             "\"maintainer\":\"NGINX Docker Maintainers \\u003cdocker-maint@nginx.com\\u003e\"},",
             number, number, number, number);
    fprintf (out,
             "\"State\":\"running\",\"Status\":\"Up %d hours (healthy)\",\"HostConfig\":{\"NetworkMode\":"
             "\"default\"},\"NetworkSettings\":{\"Networks\":{\"shop_default\":{\"IPAMConfig\":{\"IPv4Address\":"
             "\"10.0.1.%d\"},\"Links\":null,\"Aliases\":null,\"NetworkID\":\"%025x\",\"EndpointID\":\"%064x\","
             "\"Gateway\":\"\",\"IPAddress\":\"10.0.1.%d\",\"IPPrefixLen\":24,\"IPv6Gateway\":\"\","
             "\"GlobalIPv6Address\":\"\",\"GlobalIPv6PrefixLen\":0,\"MacAddress\":\"02:42:0a:00:01:%02x\","
             "\"DriverOpts\":null}}},",
             number % 100, number % 250, number, number, number % 250, number % 250);
    fprintf (out, "\"Mounts\":[{\"Type\":\"volume\",\"Name\":\"shop_data\",\"Source\":\"\",\"Destination\":"
                  "\"/usr/share/nginx/html\",\"Driver\":\"local\",\"Mode\":\"z\",\"RW\":true,\"Propagation\":\"\"}]}");
}

static double time_of_jansson (struct slice text)
{
    double begin = cpu_ns ();
    json_t *list = json_loadb (text.at, text.len, 0, NULL);
    if (json_array_size (list) != CONTAINERS)
        abort ();
    json_decref (list);
    return cpu_ns () - begin;
}

static double time_of_decorating (struct slice text)
{
    double begin = cpu_ns ();
    struct json_list *list = json_list_new (JSON_LIST_ARRAY, SLICE ("node-1"));
    int elements = 0;
    for (size_t at = 0, used; at < text.len; at += used)
    {
        size_t next = (at / PIECE + 1) * PIECE, end = next < text.len ? next : text.len;
        elements += json_list_feed (list, slice_of (text.at + at, end - at), &used) == JSON_LIST_ELEMENT;
    }
    if (elements != CONTAINERS || json_list_end (list) != JSON_LIST_MORE)
        abort ();
    json_list_destroy (&list);
    return cpu_ns () - begin;
}

int main (void)
{
    char *bytes = NULL;
    size_t length = 0;
    FILE *out = open_memstream (&bytes, &length);
    if (!out)
        return 1;
    for (int number = 0; number < CONTAINERS; number++)
    {
        fputc (number ? ',' : '[', out);
        write_container (out, number);
    }
    fputs ("]\n", out);
    fclose (out);
    double jansson[ROUNDS], decorating[ROUNDS];
    for (int round = 0; round < ROUNDS; round++)
    {
        jansson[round] = time_of_jansson (slice_of (bytes, length));
        void *volatile settled = malloc (PIECE); /* has malloc tidy up what jansson freed: charged to neither */
        free (settled);
        decorating[round] = time_of_decorating (slice_of (bytes, length));
    }
    qsort (jansson, ROUNDS, sizeof *jansson, compare);
    qsort (decorating, ROUNDS, sizeof *decorating, compare);
    double slow = jansson[ROUNDS / 2], fast = decorating[ROUNDS / 2], megabytes = (double) length / 1e6;
    printf ("text %.1f MB, jansson %.0f MB/s, decorating %.0f MB/s, ratio %.1f\n", megabytes, megabytes / slow * 1e9,
            megabytes / fast * 1e9, slow / fast);
    free (bytes);
    return 0;
}
