// Verdicts from an exported graph in C#: the packages Microsoft.ML.OnnxRuntime and OpenCvSharp4 (with its runtime).
//
//     InspectImage FOLDER IMAGE...
//
// FOLDER is what `blemish export --to onnx` wrote. Prints decision, score and path of each image.
using System.Globalization;
using System.Text.Json;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using OpenCvSharp;

var folder = args[0];
var facts = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "model.json"))).RootElement;
if (!facts.GetProperty("score_decides").GetBoolean() || facts.GetProperty("resize_rule").GetString() != "area")
{
    Console.Error.WriteLine("this model has a zone or rules, or another resize rule: verdicts need the package");
    return 2;
}
int height = facts.GetProperty("input_height").GetInt32(), width = facts.GetProperty("input_width").GetInt32();
double threshold = facts.GetProperty("image_threshold").GetDouble();
var reviewing = facts.GetProperty("review_threshold");
double review = reviewing.ValueKind == JsonValueKind.Null ? threshold : reviewing.GetDouble();
using var session = new InferenceSession(Path.Combine(folder, facts.GetProperty("graph").GetString()!));

foreach (var name in args.Skip(1))
{
    using var image = Cv2.ImRead(name, ImreadModes.Color);
    // The rule "area": a side that shrinks is averaged over areas, then a side that grows is interpolated.
    var shrunk = new Size(Math.Min(image.Width, width), Math.Min(image.Height, height));
    using var area = image.Resize(shrunk, 0, 0, InterpolationFlags.Area);
    using var resized = area.Resize(new Size(width, height), 0, 0, InterpolationFlags.Linear);
    using var rgb = resized.CvtColor(ColorConversionCodes.BGR2RGB);
    rgb.GetArray(out Vec3b[] pixels);
    var bytes = pixels.SelectMany(pixel => new[] { pixel.Item0, pixel.Item1, pixel.Item2 }).ToArray();
    var input = NamedOnnxValue.CreateFromTensor("image", new DenseTensor<byte>(bytes, new[] { 1, height, width, 3 }));
    using var outputs = session.Run(new[] { input }, new[] { "anomaly_score" });
    double score = outputs.First().AsTensor<float>()[0];
    var decision = score > threshold ? "reject" : score > review ? "review" : "accept";
    Console.WriteLine($"{decision} {score.ToString("G6", CultureInfo.InvariantCulture)} {name}");
}
return 0;
