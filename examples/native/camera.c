/* Names what a camera sees: reads pictures in the form of PNM (P5 and P6) from a pipe, and prints the class of each.
 *
 *   striate export runs/pictures --native --softmax -o net/
 *   cc -O2 -Inet examples/native/camera.c net/net.o -o camera
 *   ffmpeg -loglevel error -i /dev/video0 -f image2pipe -c:v ppm - | ./camera
 *
 * Pictures of any size are averaged down, or repeated up, to the size of the network's input. Networks of bytes get
 * bytes; others get numbers from 0 to 1.
 */
#include "net.h"

#include <stdio.h>
#include <stdlib.h>

static const int shape[NET_INPUT_RANK] = NET_INPUT_SHAPE; /* channels, height, width */

#if NET_TAKES_UINT8
typedef uint8_t element;
#define run net_run_batch_uint8
#else
typedef net_input element;
#define run net_run_batch
#endif

struct picture {
    int channels, width, height;
    unsigned char *bytes; /* channels of a pixel are adjacent */
};

/* Reads the next number of a header, after white space and comments; -1 at the end of the file. */
static int number(FILE *file)
{
    int c = fgetc(file);
    while (c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '#') {
        if (c == '#')
            while (c != '\n' && c != EOF)
                c = fgetc(file);
        c = fgetc(file);
    }
    int value = -1;
    for (; c >= '0' && c <= '9' && value < 100000; c = fgetc(file))
        value = (value < 0 ? 0 : value) * 10 + (c - '0');
    return value;
}

/* Reads a picture; returns 0 at the end of the file, -1 for anything else than a PNM picture of bytes. */
static int next_picture(FILE *file, struct picture *picture)
{
    int magic = fgetc(file);
    if (magic == EOF)
        return 0;
    int kind = fgetc(file);
    picture->channels = kind == '6' ? 3 : 1;
    picture->width = number(file);
    picture->height = number(file);
    int most = number(file);
    if (magic != 'P' || (kind != '5' && kind != '6') || picture->width < 1 || picture->height < 1 || most != 255)
        return -1;
    size_t size = (size_t)picture->channels * (size_t)picture->width * (size_t)picture->height;
    unsigned char *bytes = realloc(picture->bytes, size);
    if (bytes == NULL)
        return -1;
    picture->bytes = bytes;
    return fread(bytes, 1, size, file) == size ? 1 : -1;
}

/* The value of a channel at a pixel; grey from colours, and colours from grey. */
static double value(const struct picture *picture, int channel, int y, int x)
{
    const unsigned char *pixel = picture->bytes + ((size_t)y * (size_t)picture->width + (size_t)x) * (size_t)picture->channels;
    if (picture->channels == 1)
        return pixel[0];
    if (shape[0] == 1)
        return 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2];
    return pixel[channel];
}

/* The first and the last pixel that position i of the input averages over. */
static int first_pixel(int i, int size, int pixels) { return (int)((long long)i * pixels / size); }

static int last_pixel(int i, int size, int pixels)
{
    int last = (int)((long long)(i + 1) * pixels / size) - 1;
    return last < first_pixel(i, size, pixels) ? first_pixel(i, size, pixels) : last;
}

static void fill(const struct picture *picture, element *input)
{
    int height = shape[1], width = shape[2];
    for (int channel = 0; channel < shape[0]; channel++)
        for (int i = 0; i < height; i++)
            for (int j = 0; j < width; j++) {
                int top = first_pixel(i, height, picture->height), bottom = last_pixel(i, height, picture->height);
                int left = first_pixel(j, width, picture->width), right = last_pixel(j, width, picture->width);
                double sum = 0;
                for (int y = top; y <= bottom; y++)
                    for (int x = left; x <= right; x++)
                        sum += value(picture, channel, y, x);
                sum /= (double)(bottom - top + 1) * (double)(right - left + 1);
                *input++ = (element)(NET_TAKES_UINT8 ? sum + 0.5 : sum / 255);
            }
}

int main(void)
{
    static element input[NET_INPUT_SIZE];
    static net_output output[NET_OUTPUT_SIZE];
    struct picture picture = {0, 0, 0, NULL};
    void *scratch = aligned_alloc(NET_ALIGNMENT, (NET_SCRATCH_BYTES + NET_ALIGNMENT - 1) / NET_ALIGNMENT * NET_ALIGNMENT);
    if (NET_INPUT_RANK != 3 || (shape[0] != 1 && shape[0] != 3) || scratch == NULL) {
        fprintf(stderr, "the network does not take pictures\n");
        return 2;
    }
    int found;
    while ((found = next_picture(stdin, &picture)) > 0) {
        fill(&picture, input);
        int status = run(1, input, output, scratch, NULL);
        if (status != NET_OK) {
            fprintf(stderr, "%s\n", net_status_text(status));
            return 1;
        }
        int best = 0;
        for (int i = 1; i < NET_OUTPUT_SIZE; i++)
            if (output[i] > output[best])
                best = i;
        const char *name = net_class_name(best);
        printf("%s %.3f\n", name == NULL ? "?" : name, (double)output[best]);
        fflush(stdout);
    }
    if (found < 0)
        fprintf(stderr, "expected pictures of the form P5 or P6, with bytes\n");
    free(picture.bytes);
    free(scratch);
    return found < 0;
}
