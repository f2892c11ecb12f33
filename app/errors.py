"""Errors the application raises on purpose.

CacLabelError
├── InvalidInputError        what came cannot be used              (HTTP 422)
│   ├── ImagingError         an image cannot be trusted
│   ├── LabelError           a label does not fit its image
│   └── SettingsError        a setting is missing or wrong
├── NotFoundError            what was asked for does not exist     (HTTP 404)
├── DamagedFileError         a stored file is not what it was      (HTTP 500)
│   ├── LostFileError        it is not there any more, though a row names it
│   └── DamagedWeightsError  it holds the weights of a model version
├── StorageError             disk or database take nothing now     (HTTP 503)
│   └── StorageFullError     there is no room left                 (HTTP 507)
├── TooLittleMemoryError     the machine has too little memory     (HTTP 503)
├── CredentialsError         who asks is not known                 (HTTP 401)
├── ProviderDownError        the identity provider does not answer (HTTP 503)
├── ConflictError            it exists or runs already             (HTTP 409)
├── BusyError                a job of this kind is running         (HTTP 429)
├── NotReadyError            something must happen first           (HTTP 409)
├── StoppingError            this process is about to end          (HTTP 503)
├── PacsError                the DICOMweb server did not help      (HTTP 502)
│   ├── PacsDownError        it cannot be reached, or fails; retry (HTTP 503)
│   │   └── CacheError       what it sent cannot be written (HTTP 503)
│   └── PacsRefusedError     it refused; the same again is useless
└── JobFailedError           background work ended badly           (HTTP 500)

Every message is one sentence without full stop that a person can act on: what was
expected and what came. It never holds a patient name or a server path.
"""


class CacLabelError(Exception):
    """Base of every deliberate error."""


class InvalidInputError(CacLabelError):
    """What came cannot be used."""


class ImagingError(InvalidInputError):
    """An image cannot be trusted."""


class LabelError(InvalidInputError):
    """A label does not fit its image."""


class SettingsError(InvalidInputError):
    """A setting is missing or wrong."""


class NotFoundError(CacLabelError):
    """What was asked for does not exist."""


class DamagedFileError(CacLabelError):
    """A stored file is not what it was when it was stored; it is never given out.

    Attributes:
        file_name: Its name in the file store.
    """

    def __init__(self, file_name: str, problem: str = "its content is another one") -> None:
        """Say what is wrong with the file."""
        super().__init__(
            f"the stored file {file_name} is damaged: {problem}; it is not given out until it"
            " was put back from a backup"
        )
        self.file_name = file_name


class LostFileError(DamagedFileError, NotFoundError):
    """A stored file is gone."""

    def __init__(self, file_name: str) -> None:
        """Say which file."""
        super().__init__(file_name, "it is gone")


class DamagedWeightsError(DamagedFileError):
    """The weights of a model version are gone, or not those that it was trained to."""


class TooLittleMemoryError(CacLabelError):
    """What was asked for needs more memory than the machine has, in pieces of any size."""


class StorageError(CacLabelError):
    """The disk or the database takes nothing now; the same request may succeed later."""


class StorageFullError(StorageError):
    """There is no room left on the disk."""


class CredentialsError(CacLabelError):
    """Who asks is not known: a wrong password, or a key or token that is not valid."""


class ProviderDownError(CacLabelError):
    """The identity provider does not answer; the same request may succeed later."""


class ConflictError(CacLabelError):
    """What should be made exists already."""


class BusyError(CacLabelError):
    """A job of this kind is running already."""


class NotReadyError(CacLabelError):
    """Something has to happen before this can be answered."""


class StoppingError(CacLabelError):
    """The process that was asked is about to end; the next one will answer."""


class PacsError(CacLabelError):
    """The DICOMweb server did not do what was asked."""


class PacsDownError(PacsError):
    """It cannot be reached or failed; the same request may succeed later."""


class CacheError(PacsDownError):
    """What the DICOMweb server sent cannot be written to the cache: the disk may be full."""


class PacsRefusedError(PacsError):
    """It refused, or answered something else than DICOMweb; asking again changes nothing."""


class JobFailedError(CacLabelError):
    """Background work that an answer depends on ended badly."""
