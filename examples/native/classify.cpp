// Classifies samples of float32 from standard input in batches, on several threads, and prints the names of their classes.
//
//   striate export runs/digits --native -o net/ --batch 16
//   c++ -std=c++17 -O2 -Inet examples/native/classify.cpp net/net.o -o classify -lpthread
//   ./classify < samples.f32
#include "net.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

// The network hands its work to this loop. A larger program would use its pool of threads.
void on_threads(void *, std::int32_t count, void (*function)(void *, std::int32_t), void *argument)
{
    std::vector<std::thread> threads;
    for (std::int32_t i = 1; i < count; i++)
        threads.emplace_back(function, argument, i);
    function(argument, 0);
    for (auto &thread : threads)
        thread.join();
}

} // namespace

int main()
{
    const std::int32_t thread_count = 2;
    const std::size_t size = (net_scratch_size(thread_count) + NET_ALIGNMENT - 1) / NET_ALIGNMENT * NET_ALIGNMENT;
    std::unique_ptr<void, decltype(&std::free)> scratch(std::aligned_alloc(NET_ALIGNMENT, size), &std::free);
    std::vector<net_input> input(std::size_t{NET_BATCH} * NET_INPUT_SIZE);
    std::vector<net_output> output(std::size_t{NET_BATCH} * NET_OUTPUT_SIZE);
    const net_parallel parallel{nullptr, thread_count, on_threads};
    std::size_t count;
    while ((count = std::fread(input.data(), sizeof(net_input) * NET_INPUT_SIZE, NET_BATCH, stdin)) > 0) {
        const int status =
            net_run_batch(static_cast<std::int32_t>(count), input.data(), output.data(), scratch.get(), &parallel);
        if (status != NET_OK) {
            std::fprintf(stderr, "%s\n", net_status_text(status));
            return 1;
        }
        for (std::size_t i = 0; i < count; i++) {
            const net_output *scores = output.data() + i * NET_OUTPUT_SIZE;
            const auto best = static_cast<std::int32_t>(std::max_element(scores, scores + NET_OUTPUT_SIZE) - scores);
            const char *name = net_class_name(best);
            std::printf("%s\n", name == nullptr ? std::to_string(best).c_str() : name);
        }
    }
    return 0;
}
