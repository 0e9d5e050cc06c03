// Verdicts from an exported graph in C++: OpenVINO alone, for graph.onnx and graph.xml alike.
//
//     inspect_image FOLDER IMAGE.ppm...
//
// FOLDER is what `blemish export` wrote. Images are binary PPM of 8 bits, at least 16 x 16 and at most 500 million pixels;
// other files are refused, since decoders disagree about them: give it the frame of your camera. An image that cannot be
// read costs one line on standard error and the exit status 2; the others are judged all the same.
// Build: c++ -std=c++17 -O2 inspect_image.cpp -I OPENVINO/include -L OPENVINO/lib -lopenvino -o inspect_image
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <openvino/openvino.hpp>
#include <sstream>

struct Image { size_t height, width; std::vector<uint8_t> rgb; };

Image read_ppm(const std::string& path) {
    std::error_code none;
    if (!std::filesystem::is_regular_file(path, none)) throw std::runtime_error("no such file, or not a file");
    std::ifstream file(path, std::ios::binary);
    std::string kind; Image image{}; long long width = 0, height = 0; int top = 0;
    if (!(file >> kind >> width >> height >> top) || kind != "P6" || top != 255)
        throw std::runtime_error("not a binary PPM file of 8 bits");
    const long long most = 500000000;
    if (std::min(width, height) < 16) throw std::runtime_error("smaller than 16 x 16 pixels");
    if (width > most || height > most || width * height > most)
        throw std::runtime_error("larger than 500 million pixels");
    file.get();
    const auto begin = file.tellg();
    if (begin < 0 || std::filesystem::file_size(path) < uintmax_t(begin) + uintmax_t(width * height * 3))
        throw std::runtime_error("the file is cut off");
    image.width = width; image.height = height;
    image.rgb.resize(image.height * image.width * 3);
    if (!file.read(reinterpret_cast<char*>(image.rgb.data()), image.rgb.size()))
        throw std::runtime_error("the file is cut off");
    return image;
}

std::string first_line(const std::exception& error) {
    const std::string text = error.what();
    return text.substr(0, text.find('\n'));
}

// The rule "area" along one axis: weight of each source pixel in each target pixel.
std::vector<std::vector<std::pair<size_t, double>>> weights(size_t from, size_t to) {
    std::vector<std::vector<std::pair<size_t, double>>> all(to);
    const double step = double(from) / to;
    for (size_t t = 0; t < to; ++t)
        if (to < from)  // shrinking: the share of the area that the source pixel covers
            for (size_t s = t * step; s < from && s < (t + 1) * step; ++s)
                all[t].push_back({s, (std::min(s + 1.0, (t + 1) * step) - std::max(double(s), t * step)) / step});
        else {  // growing: linear between pixel centers
            const double place = std::clamp((t + 0.5) * step - 0.5, 0.0, from - 1.0);
            const size_t s = place;
            all[t] = {{s, 1 - (place - s)}, {std::min(s + 1, from - 1), place - s}};
        }
    return all;
}

Image resize(const Image& image, size_t height, size_t width) {
    Image target{height, width, {}};
    const auto rows = weights(image.height, height), columns = weights(image.width, width);
    const bool halves = image.height == 2 * height && image.width == 2 * width;  // OpenCV rounds these upwards
    for (size_t y = 0; y < height; ++y)
        for (size_t x = 0; x < width; ++x)
            for (size_t c = 0; c < 3; ++c) {
                double sum = 0;
                for (auto [row, a] : rows[y])
                    for (auto [column, b] : columns[x]) sum += a * b * image.rgb[(row * image.width + column) * 3 + c];
                target.rgb.push_back(uint8_t(halves ? std::floor(sum + 0.5) : std::nearbyint(sum)));
            }
    return target;
}

int main(int argc, char** argv) try {
    const std::string folder = std::string(argc > 1 ? argv[1] : ".") + "/";
    std::ifstream file(folder + "model.json");
    std::stringstream text; text << file.rdbuf();
    const std::string json = text.str();
    auto value = [&](const std::string& name) {  // the text behind "name": in the flat JSON file
        const size_t start = json.find("\"" + name + "\": ");
        if (start == std::string::npos) throw std::runtime_error("model.json has no " + name);
        return json.substr(start + name.size() + 4, json.find_first_of(",\n", start) - start - name.size() - 4);
    };
    if (value("score_decides") != "true" || value("resize_rule") != "\"area\"")
        throw std::runtime_error("this model has a zone or rules, or another resize rule: verdicts need the package");
    const size_t height = std::stoul(value("input_height")), width = std::stoul(value("input_width"));
    const double threshold = std::stod(value("image_threshold"));
    const double review = value("review_threshold") == "null" ? threshold : std::stod(value("review_threshold"));
    std::string graph = value("graph");
    ov::Core core;
    auto compiled = core.compile_model(folder + graph.substr(1, graph.size() - 2), "CPU",
                                       ov::hint::inference_precision(ov::element::f32));
    auto request = compiled.create_infer_request();
    ov::Tensor input(ov::element::u8, {1, height, width, 3});
    int status = 0;
    for (int i = 2; i < argc; ++i) try {
        const Image image = read_ppm(argv[i]);  // sides that shrink come first, then those that grow
        const Image shrunk = resize(image, std::min(height, image.height), std::min(width, image.width));
        const Image ready = resize(shrunk, height, width);
        std::copy(ready.rgb.begin(), ready.rgb.end(), input.data<uint8_t>());
        request.set_tensor("image", input);
        request.infer();
        const double score = request.get_tensor("anomaly_score").data<float>()[0];
        const char* decision = score > threshold ? "reject" : score > review ? "review" : "accept";
        std::printf("%s %.6g %s\n", decision, score, argv[i]);
        std::fflush(stdout);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s: %s\n", argv[i], first_line(error).c_str());
        status = 2;
    }
    return status;
} catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", first_line(error).c_str());
    return 2;
}
