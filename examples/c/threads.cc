// The same from C++, by four threads at once, a client each: threads HOST:PORT INPUT WIDTH
#include <oar/client.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

class Client {
public:
    explicit Client(const std::string &endpoint)
    {
        oar_client *opened = nullptr;
        const int code = oar_client_open(endpoint.c_str(), "brpc", &opened);
        handle.reset(opened);
        check(code);
    }

    // One row in, the first number of the first output out.
    float ask(const std::string &input, const std::vector<float> &row)
    {
        const std::int64_t shape[] = {1, static_cast<std::int64_t>(row.size())};
        oar_array feed = {};
        feed.name = input.c_str();
        feed.dtype = 1; // float32
        feed.rank = 2;
        feed.shape = shape;
        feed.data = row.data();
        const oar_array *result = nullptr;
        int count = 0;
        check(oar_client_infer(handle.get(), &feed, 1, nullptr, 0, &result, &count));
        if (count == 0 || result[0].dtype != 1)
            throw std::runtime_error("no floats came");
        return *static_cast<const float *>(result[0].data);
    }

private:
    struct Close {
        void operator()(oar_client *c) const { oar_client_close(c); }
    };
    std::unique_ptr<oar_client, Close> handle;

    void check(int code) const
    {
        if (code != 0)
            throw std::runtime_error(oar_client_error(handle.get()));
    }
};

int main(int argc, char **argv)
{
    if (argc != 4)
        return std::fprintf(stderr, "usage: threads HOST:PORT INPUT WIDTH\n"), 2;
    std::vector<std::thread> threads;
    std::vector<std::string> told(4);
    for (std::size_t i = 0; i < told.size(); i++)
        threads.emplace_back([&, i] {
            try {
                Client client(argv[1]);
                const std::vector<float> row(std::stoul(argv[3]), static_cast<float>(i));
                told[i] = std::to_string(client.ask(argv[2], row));
            } catch (const std::exception &e) {
                told[i] = e.what();
            }
        });
    for (auto &t : threads)
        t.join();
    for (const auto &words : told)
        std::printf("%s\n", words.c_str());
}
