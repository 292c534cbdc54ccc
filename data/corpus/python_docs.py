"""TFDS builder of `python_docs`: the documentation of the running Python, English prose."""

import tensorflow_datasets as tfds

from data.corpus import library


class PythonDocs(tfds.core.GeneratorBasedBuilder):
    """Needs no download. One config, named after the running Python, so that a cache can hold those of several."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 (TFDS asks for a plain dict)
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=library.library_key())]  # noqa: RUF012

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Topics of the Python manual and long docstrings of the standard library.",
            features=tfds.features.FeaturesDict({"name": tfds.features.Text(), "text": tfds.features.Text()}),
            homepage="https://docs.python.org/3/",
            license="Python Software Foundation License Version 2",
            disable_shuffling=True,  # the order of the library, whatever hashes do
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number, (name, text) in enumerate(library.documentation()):
            yield number, {"name": name, "text": text}
