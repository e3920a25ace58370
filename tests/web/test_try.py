"""The view Try: images in, and what the models say of them."""

import base64
import json
import re
import subprocess
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import Tab
from tests.support.process import Server
from tests.web.cards import BAG, COAT, SHOE, box, card, choose, labels

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
    return opened.page


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
    expect(page.get_by_role("button", name="Camera")).to_be_focused()


def test_a_camera_may_be_denied(opened: Tab) -> None:
    opened.page.add_init_script(
        """navigator.mediaDevices.getUserMedia = async () => {
          throw new DOMException("The user said no.", "NotAllowedError");
        };"""
    )
    opened.open("try")
    opened.page.get_by_role("button", name="Camera").click()
    expect(opened.page.get_by_role("dialog").get_by_role("alert")).to_have_text(
        "The camera cannot be used: The user said no."
    )
    opened.page.keyboard.press("Escape")
    expect(opened.page.get_by_role("button", name="Camera")).to_be_focused()


def test_several_images_have_a_card_each(page: Page) -> None:
    choose(page, BAG, COAT, SHOE)
    for name, label in (("bag_30", "Bag"), ("coat_6", "Coat"), ("ankle_boot_0", "Ankle boot")):
        expect(card(page, f"{name}.png").locator(".bar-label").first).to_have_text(label)
    page.get_by_role("button", name="Remove coat_6.png").click()
    expect(page.get_by_role("article")).to_have_count(2)
    page.get_by_role("button", name="Remove all").click()
    expect(page.get_by_role("article")).to_have_count(0)


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


def test_who_has_no_image_gets_those_of_the_model(page: Page) -> None:
    page.get_by_role("button", name="Use a sample").click()
    expect(card(page, "t_shirt_top_0.png").locator(".bar-label").first).to_have_text("T-shirt/top")
    page.get_by_role("button", name="Use a sample").click()
    expect(card(page, "trouser_1.jpg").locator(".bar-label").first).to_have_text("Trouser")
    box(page, "Model").select_option("tiny 1")
    page.get_by_role("button", name="Use a sample").click()
    expect(page.get_by_role("article")).to_have_count(3)
    expect(page.get_by_role("article").first.locator(".bar-label")).to_have_count(5)


def test_images_wait_for_the_first_model(opened: Tab) -> None:
    opened.page.route("**/v1/models", lambda route: route.fulfill(json={"models": []}))
    opened.open("try")
    expect(opened.page.get_by_text("No model is loaded yet")).to_be_visible()
    choose(opened.page, BAG)
    opened.page.unroute("**/v1/models")
    expect(card(opened.page, "bag_30.png").locator(".bar-label").first).to_have_text("Bag")


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
    expect(page.get_by_role("main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Choose images")).to_be_focused()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(BAG)
    expect(card(page, "bag_30.png").locator(".bar-label").first).to_have_text("Bag")
    for _ in range(4):  # the camera, a sample, the model, what it is compared with
        page.keyboard.press("Tab")
    expect(box(page, "Compare with")).to_be_focused()
    page.keyboard.press("t")  # of tiny
    expect(card(page, "bag_30.png").get_by_role("region", name="tiny 1")).to_be_visible()
    choose(page, COAT)
    assert labels(card(page, "coat_6.png"))
    remove = page.get_by_role("button", name=re.compile("^Remove .*png$"))
    remove.first.press("Enter")
    expect(remove).to_be_focused()
    remove.press("Enter")
    expect(page.get_by_role("button", name="Choose images")).to_be_focused()


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


def test_the_lines_of_a_sample_fetch_it_first(page: Page, tmp_path: Path) -> None:
    page.get_by_role("button", name="Use a sample").click()
    found = card(page, "t_shirt_top_0.png")
    found.get_by_text("Do the same in a terminal").click()
    for line in ("curl line of the sample", "curl line"):
        command = found.get_by_label(line, exact=True).inner_text()
        printed = run(tmp_path, "bash", "-c", f"{command} --silent --noproxy '*'")
    assert json.loads(printed)["results"][0]["classes"][0]["label"] == "T-shirt/top"


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
