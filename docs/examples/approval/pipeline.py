"""Build the pages of a site as tasks of their own, wait for an editor's word, and then publish all or nothing."""

import shutil
from pathlib import Path

import msgspec

import sagalog
from sagalog import Compensation, Permanent
from sagalog.worker import Context, WorkContext

worker = sagalog.Worker("sites", concurrency=8)


class Site(msgspec.Struct):
    name: str
    pages: int


class Page(msgspec.Struct):
    folder: str
    number: int


@worker.task("site")
def build_site(context: WorkContext, site: Site) -> str:
    draft, public = f"drafts/{site.name}", f"public/{site.name}"
    context.step("draft", make_folder, draft, compensation=Compensation("remove", draft))
    for number in range(1, site.pages + 1):
        context.spawn(f"page-{number}", "page", Page(draft, number), queue="sites")
    broken = [page.id for page in context.wait_tasks() if page.state != "completed"]
    if broken:
        raise Permanent(f"{len(broken)} pages were not built: {', '.join(broken)}")
    answer = None
    while answer not in ("publish", "reject"):  # each wait takes a signal of its own, so a typing error does no harm
        answer = context.wait_signal("approval")
    if answer == "reject":
        raise Permanent("the editor has rejected it")
    context.step("publish", publish, draft, public, compensation=Compensation("remove", public))
    return public


@worker.task("page", waive_compensation="the folder of the site is removed as a whole")
def build_page(_: WorkContext, page: Page) -> None:
    Path(page.folder, f"{page.number}.html").write_text(f"<h1>Page {page.number}</h1>\n")


@worker.compensation("remove")
def remove(_: Context, folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def make_folder(folder: str) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)


def publish(draft: str, public: str) -> None:
    shutil.copytree(draft, public, dirs_exist_ok=True)
