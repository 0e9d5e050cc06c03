// Verdicts from an exported graph in C#: the packages Microsoft.ML.OnnxRuntime and OpenCvSharp4 (with its runtime).
//
//     InspectImage FOLDER IMAGE.ppm...
//
// FOLDER is what `blemish export --to onnx` wrote. Images are binary PPM of 8 bits, at least 16 x 16 and at most 500 million
// pixels; other files are refused, since decoders disagree about them: give it the frame of your camera. Prints decision,
// score and path of each image. An image that cannot be read costs one line on standard error and the exit status 2; the
// others are judged all the same.
using System;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using OpenCvSharp;

static class InspectImage
{
    static int Main(string[] args)
    {
        try
        {
            return Run(args);
        }
        catch (Exception error)
        {
            Console.Error.WriteLine(FirstLine(error));
            return 2;
        }
    }

    static int Run(string[] args)
    {
        if (args.Length == 0) throw new ArgumentException("give the folder that `blemish export` wrote, then images");
        var folder = args[0];
        var facts = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "model.json"))).RootElement;
        if (!facts.GetProperty("score_decides").GetBoolean() || facts.GetProperty("resize_rule").GetString() != "area")
            throw new ArgumentException("this model has a zone or rules, or another resize rule: verdicts need the package");
        int height = facts.GetProperty("input_height").GetInt32(), width = facts.GetProperty("input_width").GetInt32();
        double threshold = facts.GetProperty("image_threshold").GetDouble();
        var reviewing = facts.GetProperty("review_threshold");
        double review = reviewing.ValueKind == JsonValueKind.Null ? threshold : reviewing.GetDouble();
        int status = 0;
        using (var session = new InferenceSession(Path.Combine(folder, facts.GetProperty("graph").GetString())))
        {
            foreach (var name in args.Skip(1))
            {
                try
                {
                    double score;
                    using (var image = ReadPpm(name)) score = Score(session, image, height, width);
                    var decision = score > threshold ? "reject" : score > review ? "review" : "accept";
                    Console.WriteLine(decision + " " + score.ToString("G6", CultureInfo.InvariantCulture) + " " + name);
                }
                catch (Exception error)
                {
                    Console.Error.WriteLine(name + ": " + FirstLine(error));
                    status = 2;
                }
            }
        }
        return status;
    }

    // The pixels of a binary PPM file, RGB.
    static Mat ReadPpm(string path)
    {
        if (!File.Exists(path)) throw new InvalidDataException("no such file, or not a file");
        var data = File.ReadAllBytes(path);
        var start = Encoding.ASCII.GetString(data, 0, Math.Min(data.Length, 100));
        var head = Regex.Match(start, @"^P6[ \t\r\n]+([0-9]{1,9})[ \t\r\n]+([0-9]{1,9})[ \t\r\n]+255[ \t\r\n]");
        if (!head.Success) throw new InvalidDataException("not a binary PPM file of 8 bits");
        int width = int.Parse(head.Groups[1].Value), height = int.Parse(head.Groups[2].Value), begin = head.Length;
        if (Math.Min(width, height) < 16) throw new InvalidDataException("smaller than 16 x 16 pixels");
        if ((long)width * height > 500000000) throw new InvalidDataException("larger than 500 million pixels");
        if (data.Length < begin + 3L * width * height) throw new InvalidDataException("the file is cut off");
        var pixels = new Vec3b[width * height];
        for (int i = 0; i < pixels.Length; i++)
            pixels[i] = new Vec3b(data[begin + 3 * i], data[begin + 3 * i + 1], data[begin + 3 * i + 2]);
        var image = new Mat(height, width, MatType.CV_8UC3);
        image.SetArray(pixels);
        return image;
    }

    static double Score(InferenceSession session, Mat image, int height, int width)
    {
        // The rule "area": a side that shrinks is averaged over areas, then a side that grows is interpolated.
        var shrunk = new Size(Math.Min(image.Width, width), Math.Min(image.Height, height));
        using (var area = image.Resize(shrunk, 0, 0, InterpolationFlags.Area))
        using (var resized = area.Resize(new Size(width, height), 0, 0, InterpolationFlags.Linear))
        {
            Vec3b[] pixels;
            resized.GetArray(out pixels);
            var bytes = pixels.SelectMany(pixel => new[] { pixel.Item0, pixel.Item1, pixel.Item2 }).ToArray();
            var tensor = new DenseTensor<byte>(bytes, new[] { 1, height, width, 3 });
            var input = NamedOnnxValue.CreateFromTensor("image", tensor);
            using (var outputs = session.Run(new[] { input }, new[] { "anomaly_score" }))
                return outputs.First().AsTensor<float>()[0];
        }
    }

    static string FirstLine(Exception error)
    {
        return error.Message.Split('\n')[0].TrimEnd();
    }
}
