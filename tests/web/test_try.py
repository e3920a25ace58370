"""The view Try: images in, and what the models say of them."""

import base64
import json
import re
import subprocess
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.browser import Tab
from tests.support.paths import SAMPLES
from tests.support.process import Server

BAG, COAT, SHOE = (SAMPLES / name for name in ("bag_30.png", "coat_6.png", "ankle_boot_0.png"))
# What a browser does when somebody drops or pastes a file.
DROP = """([text, name, kind]) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type: "image/png" }));
  const about = { bubbles: true, cancelable: true };
  if (kind === "paste") {
    document.body.dispatchEvent(new ClipboardEvent("paste", { ...about, clipboardData: data }));
    return;
  }
  for (const step of ["dragenter", "dragover", "drop"]) {
    document.body.dispatchEvent(new DragEvent(step, { ...about, dataTransfer: data }));
  }
}"""


@pytest.fixture
def page(opened: Tab) -> Page:
    """The view, with the models listed."""
    opened.open("try")
    expect(box(opened.page, "Model")).to_be_visible()
    return opened.page


def box(page: Page, name: str) -> Locator:
    return page.get_by_role("combobox", name=name)


def choose(page: Page, *files: Path) -> None:
    page.locator("#files").set_input_files(files)


def card(page: Page, name: str) -> Locator:
    """The card of a file, once it is complete."""
    found = page.get_by_role("article", name=name)
    expect(found).not_to_have_attribute("aria-busy", "true")
    return found


def labels(found: Locator) -> list[str]:
    return found.locator(".bar-label").all_inner_texts()


def test_a_chosen_image_is_classified_as_by_the_api(page: Page, server: Server) -> None:
    choose(page, BAG)
    found = card(page, "bag_30.png")
    expect(found.locator(".bar-label").first).to_have_text("Bag")
    asked = f"{server.http}/v1/classify?model=fashion_resnext"
    classes = httpx.post(asked, content=BAG.read_bytes(), trust_env=False).json()["results"][0]
    assert labels(found) == [one["label"] for one in classes["classes"]]
    share = f"{100 * classes['classes'][0]['probability']:.1f} %"
    expect(found.locator(".bar-value").first).to_have_text(share)
    expect(page.get_by_role("status")).to_have_text(f"bag_30.png: Bag, {share}")


def test_it_shows_what_the_network_saw_and_where_the_time_went(page: Page) -> None:
    choose(page, BAG)
    found = card(page, "bag_30.png")
    seen = found.get_by_alt_text("What the network saw of bag_30.png")
    assert seen.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [28, 28]
    stages = found.locator(".waterfall").get_by_role("rowheader").all_inner_texts()
    assert stages == ["Admission", "Decode", "Queue", "Inference", "Network, browser", "Server"]
    expect(found).to_contain_text("It ran in a batch of its own.")


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_images_come_in_by_hand(page: Page, way: str) -> None:
    page.evaluate(DROP, [base64.b64encode(COAT.read_bytes()).decode(), "mine.png", way])
    expect(card(page, "mine.png").locator(".bar-label").first).to_have_text("Coat")


def test_images_come_in_from_the_camera(page: Page) -> None:
    page.get_by_role("button", name="Camera").click()
    page.get_by_role("button", name="Take the photo").click()
    found = card(page, "photo.jpg")
    expect(found.locator(".bar-label")).to_have_count(5)
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_several_images_have_a_card_each(page: Page) -> None:
    choose(page, BAG, COAT, SHOE)
    for name, label in (("bag_30", "Bag"), ("coat_6", "Coat"), ("ankle_boot_0", "Ankle boot")):
        expect(card(page, f"{name}.png").locator(".bar-label").first).to_have_text(label)
    page.get_by_role("button", name="Remove coat_6.png").click()
    expect(page.get_by_role("article")).to_have_count(2)
    page.get_by_role("button", name="Remove all").click()
    expect(page.get_by_role("article")).to_have_count(0)


def test_a_broken_file_gets_the_words_of_the_server(
    opened: Tab, page: Page, server: Server, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(BAG.read_bytes()[:200])
    choose(page, broken, COAT)
    asked = f"{server.http}/v1/classify?model=fashion_resnext"
    words = httpx.post(asked, content=broken.read_bytes(), trust_env=False).json()["error"]
    expect(card(page, "broken.png").get_by_text(words)).to_be_visible()
    expect(card(page, "coat_6.png").locator(".bar-label").first).to_have_text("Coat")
    opened.forgive("status of 400")


def test_two_models_side_by_side(page: Page) -> None:
    choose(page, BAG)
    expect(card(page, "bag_30.png").locator(".bar-label").first).to_have_text("Bag")
    box(page, "Compare with").select_option("tiny 1")
    found = card(page, "bag_30.png")
    sides = [found.get_by_role("region", name=name) for name in ("fashion_resnext 1", "tiny 1")]
    expect(sides[1].locator(".bar-label")).to_have_count(5)
    expect(sides[0].locator(".bar-label").first).to_have_text("Bag")
    assert {*labels(sides[1])} < {"ant", "bee", "cat", "dog", "elk", "fox"}
    expect(found.locator(".verdict")).to_contain_text("They differ: Bag, or ")
    seen = found.get_by_alt_text("What tiny 1 saw of bag_30.png")
    assert seen.evaluate("image => image.naturalWidth") == 16
    corners = [side.evaluate("(side) => [side.offsetTop, side.offsetLeft]") for side in sides]
    assert corners[0][0] == corners[1][0]
    assert corners[0][1] < corners[1][1]


def test_another_choice_asks_again(page: Page) -> None:
    choose(page, BAG)
    expect(card(page, "bag_30.png").locator(".bar-label")).to_have_count(5)
    box(page, "Classes shown").select_option("1")
    expect(card(page, "bag_30.png").locator(".bar-label")).to_have_text(["Bag"])


def test_the_keyboard_is_enough(page: Page) -> None:
    # Else the browser might open a real chooser before it knows that somebody waits for one.
    page.on("filechooser", lambda _: None)
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#main$"))  # only then does the next key go on from there
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Choose images")).to_be_focused()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(BAG)
    expect(card(page, "bag_30.png").locator(".bar-label").first).to_have_text("Bag")
    for _ in range(3):  # the camera, the model, what it is compared with
        page.keyboard.press("Tab")
    expect(box(page, "Compare with")).to_be_focused()
    page.keyboard.press("t")  # of tiny
    expect(card(page, "bag_30.png").get_by_role("region", name="tiny 1")).to_be_visible()


def test_the_lines_of_a_card_do_the_same(page: Page, tmp_path: Path) -> None:
    file = tmp_path / 'it\'s [a] {new} "bag".png'
    file.write_bytes(BAG.read_bytes())
    choose(page, file)
    found = card(page, file.name)
    expect(found.locator(".bar-label").first).to_have_text("Bag")
    found.get_by_text("Do the same in a terminal").click()
    curl = found.get_by_label("curl line", exact=True).inner_text()
    answer = json.loads(run(tmp_path, "bash", "-c", f"{curl} --silent --noproxy '*'"))
    assert [one["label"] for one in answer["results"][0]["classes"]] == labels(found)
    python = found.get_by_label("Python lines", exact=True).inner_text()
    printed = run(tmp_path, "python3", "-c", python)
    assert [line.partition("  ")[2] for line in printed.splitlines()] == labels(found)


def test_the_name_of_a_file_is_no_markup(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "<img src=x onerror=alert(1)>.png"
    file.write_bytes(BAG.read_bytes())
    choose(page, file)
    expect(page.get_by_role("heading", name=file.name)).to_be_visible()


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
