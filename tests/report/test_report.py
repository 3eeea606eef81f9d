"""The whole page: its sections show what is in the run, it needs no other files, and it is written safely."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import striate as st
from striate import nn, optim, settings
from striate.cli import app
from striate.data import Dataset, Standardizer, load_digits
from striate.errors import DataError, ModelFileError, OptionError, StriateError
from striate.insight import confusion
from striate.report import inspect, report_of
from striate.report.material import gathered, numbers_of
from striate.train.record import read_progress
from tests.report.conftest import FINDING, write_records
from tests.report.networks import branched
from tests.report.test_html import Reader

SECTIONS = [
    "findings", "network", "curves", "gradients", "filters", "features", "attention", "mistakes", "speed", "layers",
    "provenance",
]  # fmt: skip


@pytest.fixture(scope="module")
def html(run: Path) -> str:
    return inspect(run).html


def section(html: str, id: str) -> str:
    (found,) = re.findall(rf'<section id="{id}".*?</section>', html, re.DOTALL)
    return found


def text(html: str) -> str:
    return Reader(html).text


def test_contents_list_the_sections_and_each_explains_itself(html: str) -> None:
    assert re.findall(r'<section id="(\w+)"', html) == SECTIONS
    assert re.findall(r'<li><a href="#(\w+)"', html) == SECTIONS
    for id in SECTIONS:
        assert re.search("[Bb]ad sign|error at the top", text(section(html, id))), id
        assert 'class="absent"' not in section(html, id), id


def test_it_loads_nothing_and_its_policy_lets_it_load_nothing(html: str) -> None:
    assert "://" not in html, "not even a name space is an address"
    found = Reader(html)
    assert not {"script", "iframe", "object", "embed", "base", "form"} & set(found.tags)
    sources = [value for name, value in found.attributes if name in ("src", "href", "srcset", "data", "action")]
    assert sources
    assert all(value.startswith(("#", "data:")) for value in sources)
    assert not [name for name, _ in found.attributes if name.startswith("on") or name == "style"]
    (policy,) = [value for name, value in found.attributes if name == "content" and "default-src" in value]
    style = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert "url(" not in style.replace("url(#", "")
    assert "@import" not in style


def test_the_head_has_the_figures_of_the_run(html: str, run: Path) -> None:
    evaluation = json.loads((run / "run.json").read_text())["evaluation"]
    head = text(re.findall(r"<header.*?</header>", html, re.DOTALL)[0])
    assert f"{100 * evaluation['accuracy']:.2f}\u00a0%" in head
    assert f"{evaluation['correct']} of 355" in head
    assert "31.2 k" in head, "parameters"


def test_findings_have_evidence_and_remedy(html: str) -> None:
    found = text(section(html, "findings"))
    for shown in (FINDING["message"], FINDING["why"], "Use ReLU.", "nn.ReLU()", "--activation relu", "97\u00a0% sure"):
        assert shown in found
    assert "at 0, units 1, 2" in found
    assert "3.1·10⁻⁷" in found


def test_findings_stand_below_what_explains_them(run: Path) -> None:
    material = gathered(run, [], None, lambda text: None)
    follows = {**FINDING, "kind": "constant_predictions", "because": FINDING["kind"], "message": "one answer to all"}
    alone = {**FINDING, "kind": "labels", "because": "what nobody found", "severity": "warning", "message": "alone"}
    assert material.run is not None
    material.run.findings = [follows, FINDING, alone]
    found = section(report_of(material, False).html, "findings")
    assert re.findall("<article", found) == ["<article"] * 2
    assert "It explains:</p><ul><li>one answer to all</li></ul>" in found
    assert 'class="finding warn"' in found


def test_no_finding_is_left_out(run: Path) -> None:
    material = gathered(run, [], None, lambda text: None)
    assert material.run is not None
    chain = [{**FINDING, "kind": kind, "because": because, "message": f"message {kind}"}
             for kind, because in (("a", "b"), ("b", "c"), ("c", ""), ("d", "d"), ("e", "f"), ("f", "e"))]  # fmt: skip
    material.run.findings = chain
    found = section(report_of(material, False).html, "findings")
    assert sorted(re.findall(r"message (\w)", found)) == list("abcdef")
    assert found.count("<article") == 4, "a and b below c; d, e and f name themselves by a detour"


def test_all_well_is_said_only_where_a_doctor_was(run: Path) -> None:
    material = gathered(run, [], None, lambda text: None)
    assert material.run is not None
    material.run.findings = []
    assert FINDING["message"] in section(report_of(material, False).html, "findings"), "of the record, while it trains"
    material.records = []
    material.run.arguments["doctor"] = True
    assert "The doctor found nothing wrong." in section(report_of(material, False).html, "findings")
    material.run.arguments["doctor"] = False
    assert "No doctor watched this run." in section(report_of(material, False).html, "findings")


def test_curves_hold_every_epoch(html: str, run: Path) -> None:
    epochs = json.loads((run / "run.json").read_text())["history"]["epochs"]
    rows = re.findall(r"<tr><th.*?</tr>", section(html, "curves").partition("<tbody>")[2])
    assert len(rows) == len(epochs) == 2
    assert f"{epochs[1]['validation_loss']:.4f}" in rows[1]
    assert section(html, "curves").count("line s") == 6, "loss by batch, epoch, held-out; two accuracies; speed"


def test_gradient_flow_is_in_the_order_of_the_network(html: str) -> None:
    found = section(html, "gradients")
    (label,) = re.findall(r'aria-label="Gradient norms: ([^"]*)"', found)
    assert [part.split()[0] for part in label.split("; ")] == ["standardizer", "0", "1", "4", "5", "9", "10", "12"]
    assert "Layer standardizer over layer 12; at the end 10⁻¹⁴." in text(found)
    uri, _ = re.findall(r'<image href="data:image/png;base64,([^"]*)"', found)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri)))).astype(int).sum(axis=2)
    assert image.shape == (8, 20)
    assert (np.diff(image[:, 0]) > 0).all(), "later layers have larger gradients and are brighter"
    assert "Units that never fired: standardizer from 6\u00a0% to 6\u00a0%; 0 from" in found, "1 of 16"
    assert "Saturated" not in found


def test_filters_are_the_weights(html: str, run: Path) -> None:
    weights = st.load(run / "model.safetensors").state_dict()["0.weight"]
    uri = re.findall(r'src="data:image/png;base64,([^"]*)" alt="Filters of layer 0', section(html, "filters"))[0]
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))).convert("RGBA")).astype(int)
    tile = image[:40:8, :40:8]  # the first filter, 8 pixels of the picture to a weight
    warm = tile[..., 0] - tile[..., 2]
    first = weights[0, 0]
    large = np.abs(first) > 0.05 * np.abs(weights).max()
    assert (np.sign(warm) == np.sign(first))[large].all(), "orange is positive, blue negative"
    assert (image[..., 3] == 0).any(), "gaps are transparent"


def test_maps_and_attention_show_one_sample_of_each_class(html: str) -> None:
    features = section(html, "features")
    assert features.count("<details") == 3
    assert features.count("<details open") == 1
    shown = re.findall(r'alt="Feature maps of layer (\d+): (\d+)', features)
    assert shown[:4] == [("2", "16"), ("3", "16"), ("6", "16"), ("7", "16")]
    assert len(re.findall(r'alt="held-out sample \d+, evidence for', section(html, "attention"))) == 8


def test_the_matrix_is_that_of_the_held_out_data(html: str, run: Path) -> None:
    found = confusion(st.load(run / "model.safetensors"), st.data.load_digits("test"))
    table = re.findall(r'<table><caption>true class|<table class="confusion">(.*?)</table>', section(html, "mistakes"))[
        0
    ]
    rows = re.findall(r'<tr><th scope="row".*?</tr>', table)
    counts = [[0 if cell == "·" else int(cell) for cell in re.findall(r"<td[^>]*>([^<]*)</td>", row)] for row in rows]
    np.testing.assert_array_equal(counts, found.counts)


def test_every_layer_has_its_equation_its_loops_and_its_speed(html: str) -> None:
    layers = re.findall(r'<div id="layer-(\d+)">', section(html, "layers"))
    assert layers == [str(index) for index in range(14)]
    parts = dict(re.findall(r'<div id="layer-(\d+)">(.*?)(?=<div id="layer-|$)', section(html, "layers"), re.DOTALL))
    convolution = text(parts["5"])
    assert "12,800 parameters" in convolution
    assert "204,800 multiply-adds" in convolution
    assert "convolution, 16→32 channels, 5×5" in convolution
    assert {"forward", "input gradient", "weight gradient"} <= set(re.findall("forward|\\w+ gradient", convolution))
    assert "moments of" in convolution, "the sums of the batch normalization ride on the convolution"
    assert "also of 5" in convolution
    assert "Back from it" in convolution


def test_speed_is_measured_now_or_not_at_all(html: str, run: Path) -> None:
    assert re.search(r"Training step of 32 samples: [\d.]+ ms", text(section(html, "speed")))
    without = inspect(run, speed=False).html
    assert "Not measured" in text(section(without, "speed"))


def test_how_it_was_made_can_be_repeated(html: str) -> None:
    found = text(section(html, "provenance"))
    assert "striate train digits --seed 0 --model lenet5 --epochs 2 --batch-size 32" in found
    assert "--standardize" in found


def test_pictures_of_ones_own(run: Path, drawn: Path) -> None:
    html = inspect(run, images=[drawn], speed=False).html
    assert text(section(html, "features")).count("drawn <b>.png") == 1
    assert "drawn &lt;b&gt;.png" in section(html, "attention")
    assert "held-out sample" not in section(html, "attention")
    with pytest.raises(DataError, match="no such file"):
        inspect(run, images=["nothing.png"])


def test_a_model_file_alone(tmp_path: Path) -> None:
    model = branched()
    model.infer((3, 8, 8))
    st.save(model, tmp_path / "alone.safetensors", input_shape=(3, 8, 8))
    html = inspect(tmp_path / "alone.safetensors").html
    assert re.findall(r'<section id="(\w+)"', html) == SECTIONS
    absent = {id for id in SECTIONS if 'class="absent"' in section(html, id)}
    assert absent == {"findings", "curves", "gradients", "features", "attention", "mistakes"}
    assert re.search(r"Prediction of 64 samples: [\d.]+ ms", text(section(html, "speed")))
    assert "concat" in text(section(html, "layers"))


def test_a_folder_of_ones_own_with_a_record(tmp_path: Path) -> None:
    digits = st.data.load_digits("test")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    trainer = st.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.001), progress=False, record=tmp_path)
    trainer.fit(digits, epochs=2)
    st.save(model, tmp_path / "model.safetensors", classes=digits.classes)
    html = inspect(tmp_path, data="digits", speed=False).html
    assert section(html, "curves").count("<circle") == 4, "loss and speed of two epochs"
    assert "Gradient norms: 1 from" in section(html, "gradients")
    assert "held-out samples are predicted wrongly" in section(html, "mistakes")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelFileError, match=r"no run\.json in it"):
        inspect(tmp_path)


def test_other_data_and_data_that_do_not_fit(run: Path) -> None:
    with pytest.raises(OptionError, match="nothing: no such file or folder, and no data set"):
        inspect(run, data="nothing")
    model = gathered(run / "model.safetensors", [], "digits", lambda text: None)
    assert model.data is not None
    assert model.network is None, "a file alone does not say how it was built"


def test_data_that_cannot_be_opened_are_said_to_be_missing(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(run, folder)
    document = json.loads((folder / "run.json").read_text())
    document["data"] = "/nowhere/at all"
    (folder / "run.json").write_text(json.dumps(document))
    html = inspect(folder, speed=False).html
    assert "the data of the run cannot be opened" in text(section(html, "mistakes"))


def test_the_network_is_rebuilt_only_where_it_is_the_same(run: Path, tmp_path: Path) -> None:
    found = gathered(run, [], None, lambda text: None)
    assert found.network is not None
    assert found.training is not None
    folder = tmp_path / "other"
    shutil.copytree(run, folder)
    document = json.loads((folder / "run.json").read_text())
    document["arguments"]["model"] = "vgg_small"
    (folder / "run.json").write_text(json.dumps(document))
    assert gathered(folder, [], None, lambda text: None).network is None


def test_without_an_engine_nothing_is_timed(run: Path, kept_settings: settings.Settings) -> None:
    settings.override(engine=settings.Engine.REFERENCE)
    html = report_of(gathered(run, [], None, lambda text: None), True).html
    assert "STRIATE_ENGINE=reference" in text(section(html, "speed"))


def test_numbers_of_a_record_are_numbers() -> None:
    record = {"a": 10**400, "b": True, "c": float("nan"), "d": 3, "e": "3"}
    assert numbers_of(record, "d") == (3.0,)
    for name in "abcex":
        assert numbers_of(record, name) is None
        assert numbers_of(record, "d", name) is None


def test_a_damaged_record_is_named_and_the_rest_is_shown(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(run, folder)
    (folder / "progress.jsonl").write_bytes(b"\xff no record\n" * 3)
    html = inspect(folder, speed=False).html
    assert "not a record of a training" in text(section(html, "gradients"))
    assert "line s" in section(html, "curves"), "of run.json"


def test_hostile_names_stay_text(hostile_material: object) -> None:
    html = report_of(hostile_material, False).html
    found = Reader(html)
    assert "script" not in found.tags
    assert not [name for name, _ in found.attributes if name.startswith("on") or name == "style"]
    assert html.count("<title") == html.count("</title>")
    assert "window.attacked=1" in found.text
    assert "\u202e" not in html
    for id in SECTIONS:
        if id not in ("speed", "curves"):
            assert "attacked=1" in text(section(html, id)), id
        assert 'class="absent"' not in section(html, id) or id == "speed", id


def test_the_page_is_written_as_a_whole(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "report.html"
    page.write_text("before")
    report = inspect(run, speed=False)

    def broken(*_: object) -> None:
        raise OSError("no room")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", broken)
        with pytest.raises(StriateError, match="cannot be written"):
            report.save(page)
    assert page.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
    report.save(page)
    assert page.read_text() == report.html
    assert "sandbox" in report._repr_html_()


def test_on_the_command_line(run: Path, tmp_path: Path, drawn: Path) -> None:
    page = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["inspect", str(run), "-o", str(page), "--image", str(drawn), "--no-speed"])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"wrote {page} (0.")
    assert "inspect: reading the model" in done.stderr
    assert page.read_text().startswith("<!doctype html>")
    for arguments in (
        [str(tmp_path / "none")],
        [str(run), "-o", str(tmp_path / "no" / "folder.html")],
        [str(run), "-o", str(tmp_path)],
    ):
        refused = CliRunner().invoke(app, ["inspect", *arguments])
        assert refused.exit_code == 2
        assert "error:" in refused.stderr
        assert "measuring" not in refused.stderr, "before the work, not after it"


def test_a_network_without_maps_looks_nowhere(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(None, 10))
    digits = load_digits("train")
    model.standardizer = Standardizer.fit(digits.images)
    st.save(model.infer((1, 8, 8)), tmp_path / "flat.safetensors", input_shape=(1, 8, 8), classes=digits.classes)
    html = inspect(tmp_path / "flat.safetensors", data="digits", speed=False).html
    assert "No map: no layer of this model has outputs with positions" in section(html, "attention")


def test_a_model_of_several_inputs(tmp_path: Path) -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            self.left, self.right = nn.Linear(3, 2), nn.Linear(5, 2)

        def forward(self, x, z):
            return self.left(x) + self.right(z)

    model = Sum()
    model(np.ones((2, 3), np.float32), np.ones((2, 5), np.float32))
    st.save(model, tmp_path / "sum.safetensors")
    html = inspect(tmp_path / "sum.safetensors").html
    assert "several inputs" in text(section(html, "speed"))
    assert "w<sub>left</sub>" in re.sub("</?var>", "", section(html, "network")), "and as one equation"


def test_long_trainings_and_deep_networks_stay_readable(run: Path, tmp_path: Path) -> None:
    material = gathered(run, [], None, lambda text: None)
    assert material.run is not None
    epochs = [{"number": number, "loss": 1 / number} for number in range(1, 5001)]
    material.run.history = {"epochs": epochs}
    names = tuple(f"layer{index}" for index in range(1000))
    write_records(tmp_path / "progress.jsonl", names, "deep", {})
    material.records = read_progress(tmp_path)
    html = report_of(material, False).html
    rows = section(html, "curves").partition("<tbody>")[2].count("<tr>")
    assert 100 < rows <= 201
    assert ">5000</th>" in section(html, "curves"), "the last epoch is there"
    assert section(html, "gradients").count("<title>layer") == 2 * 80, "gradients, and units that never fire"


@pytest.mark.parametrize(
    ("layers", "shape", "value"),
    [
        ([nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(None, 3)], (1, 6, 6), np.nan),
        ([nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(None, 3)], (3, 6, 6), np.inf),
        ([nn.Conv1d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(None, 3)], (2, 12), None),
        ([nn.Conv3d(1, 2, 3), nn.Flatten(), nn.Linear(None, 3)], (1, 4, 4, 5), 0.0),
        ([nn.Linear(5, 3)], (5,), None),
    ],
    ids=["nan", "infinite", "sequences", "volumes", "features"],
)
def test_models_of_all_kinds(tmp_path: Path, layers: list[nn.Module], shape: tuple[int, ...], value: float) -> None:
    model = nn.Sequential(*layers)
    model.infer(shape)
    st.save(model, tmp_path / "model.safetensors", input_shape=shape)
    material = gathered(tmp_path / "model.safetensors", [], None, lambda text: None)
    if value is not None:
        state = {name: np.full_like(array, value) for name, array in material.model.state_dict().items()}
        material.model.load_state_dict(state)
    random = np.random.default_rng(0)
    images = random.standard_normal((12, *shape)).astype(np.float32)
    material.data = Dataset(images, random.integers(0, 3, 12), ("a", "b", "c"))
    html = report_of(material, False).html
    assert re.findall(r'<section id="(\w+)"', html) == SECTIONS
    assert "held-out samples are predicted wrongly" in section(html, "mistakes")
    if value is not None and not np.isfinite(value):
        assert "of its numbers are NaN or infinite" in section(html, "filters")


def test_layers_named_like_patterns(tmp_path: Path) -> None:
    model = nn.Sequential({"[ab]": nn.Conv2d(1, 2, 3), "a": nn.ReLU(), "*": nn.Conv2d(2, 2, 3), "b": nn.Flatten()})
    model.infer((1, 8, 8))
    st.save(model, tmp_path / "model.safetensors", input_shape=(1, 8, 8))
    material = gathered(tmp_path / "model.safetensors", [], None, lambda text: None)
    material.data = Dataset(np.ones((2, 1, 8, 8), np.uint8), np.array([0, 1]))
    assert "Feature maps of layer a:" in report_of(material, False).html
