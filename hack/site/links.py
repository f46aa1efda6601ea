# Copyright The Goshawk Authors.
# SPDX-License-Identifier: Apache-2.0
"""Adapts the documents, which are written for a Git forge, to the site.

The page index.md is README.md. Links to files outside of docs/ lead to the repository.
"""

import posixpath
import re

LINK = re.compile(r"(\]\()([^)#:\s]+)(#[^)\s]*)?(\))")


def on_files(files, config):
    from mkdocs.structure.files import File

    with open("README.md", encoding="utf-8") as readme:
        files.append(File.generated(config, "index.md", content=readme.read()))
    return files


def on_page_markdown(markdown, page, config, files):
    # index.md is written for the root of the repository, all others for their folder in docs/.
    folder = "" if page.file.src_uri == "index.md" else posixpath.dirname("docs/" + page.file.src_uri)

    def adapt(match):
        target = posixpath.normpath(posixpath.join(folder, match[2]))
        if target == "README.md":
            target = "docs/index.md"
        if target.startswith("docs/") and files.get_file_from_path(target[len("docs/"):]):
            here = posixpath.dirname("docs/" + page.file.src_uri)
            return match[1] + posixpath.relpath(target, here) + (match[3] or "") + match[4]
        kind = "blob" if posixpath.splitext(target)[1] or "/" not in target else "tree"
        return f"{match[1]}{config.repo_url}/{kind}/main/{target}{match[3] or ''}{match[4]}"

    return LINK.sub(adapt, markdown)
