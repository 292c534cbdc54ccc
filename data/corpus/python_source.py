"""TFDS builder of `python_source`: the source code of the running Python's standard library."""

import tensorflow_datasets as tfds

from data.corpus import library


class PythonSource(tfds.core.GeneratorBasedBuilder):
    """Needs no download. One config, named after the running Python, so that a cache can hold those of several."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 (TFDS asks for a plain dict)
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=library.library_key())]  # noqa: RUF012

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Modules of the Python standard library.",
            features=tfds.features.FeaturesDict({"name": tfds.features.Text(), "text": tfds.features.Text()}),
            homepage="https://docs.python.org/3/",
            license="Python Software Foundation License Version 2",
            disable_shuffling=True,  # the order of the library, whatever hashes do
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number, (name, text) in enumerate(library.source_code()):
            yield number, {"name": name, "text": text}
