"""Questions of SQuAD's nested form: articles, their paragraphs, the questions about each."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.errors import DataError


def squad_records(path: Path, articles: list[dict[str, Any]], text: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Questions in order, flat: id, title, context, question, answers and is_impossible as they stand.

    The line in a place is that of the question's id, where the file has line ends to speak of.
    """
    at = 0
    line = 1
    for number, article in enumerate(articles, start=1):
        for paragraph in _list(article, "paragraphs", f"{path} article {number}"):
            context = paragraph.get("context")
            if not isinstance(context, str):
                raise DataError(
                    f"{path} article {number} has a paragraph without a context; each needs one, as in SQuAD"
                )
            for question in _list(paragraph, "qas", f"{path} article {number}"):
                name = str(question.get("id", ""))
                found = text.find(json.dumps(name, ensure_ascii=False), at) if name else -1
                if found >= 0:
                    line, at = line + text.count("\n", at, found), found
                place = f"{path} line {line} question {name or '?'}"
                if not isinstance(question.get("question"), str):
                    raise DataError(f"{place} has no text; each needs one, named question, as in SQuAD")
                kept = {key: question[key] for key in ("answers", "is_impossible") if key in question}
                yield (
                    {
                        "id": name,
                        "title": str(article.get("title", number)),
                        "context": context,
                        "question": question["question"],
                    }
                    | kept,
                    place,
                )


def _list(of: dict[str, Any], name: str, where: str) -> list[dict[str, Any]]:
    found = of.get(name)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise DataError(f"{where} has no list {name}; the form is that of SQuAD: data, paragraphs, qas")
    return found
