"""Will clients accept the server's certificate, today and next month?"""

import stat
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID

from serving.access.certificates import CertificateError, ServerCertificate, load, moment, subject
from serving.doctor.finding import Case, Finding
from serving.settings.tls import TlsFiles, is_local

# Authorities renew their certificates a month before the end, as a rule: then it was forgotten.
SOON = timedelta(days=30)
ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
REISSUE = "have the certificate issued again"


def check(case: Case) -> Iterator[Finding]:
    """Load the files as the server does, and look at what a client looks at."""
    if (files := case.config.tls_files) is None:
        yield Finding("ok", "none is needed: this server speaks without TLS")
        return
    now = datetime.now(UTC)
    try:
        loaded = load(files, now)
    except CertificateError as error:
        yield Finding("fail", str(error), "change the file that it names, or name another")
        return
    chain = x509.load_pem_x509_certificates(loaded.chain)
    wrong = [
        *_chain(files, chain, now),
        *_usage(files, chain[0]),
        *_names(files, chain[0], case.config.host),
        *_mode(files),
        *_authorities(files, loaded, now),
    ]
    yield from wrong
    if not wrong:
        names = ", ".join(_stated(chain[0]))
        yield Finding("ok", f"{files.certificate} is for {names} until {moment(loaded.expires)}")


def _chain(files: TlsFiles, chain: Sequence[x509.Certificate], now: datetime) -> Iterator[Finding]:
    for number, certificate in enumerate(chain, start=1):
        which = f"certificate {number} of {files.certificate} ({subject(certificate)})"
        ends = certificate.not_valid_after_utc
        if ends < now:  # not the first, which has been checked
            found = f"{which} expired on {moment(ends)}: clients will trust none of the others"
            yield Finding("fail", found, "put the issuer's present one in its place")
        elif ends < now + SOON:
            found = f"{which} expires on {moment(ends)}, in {(ends - now).days} days"
            yield Finding("warn", found, "renew it now; the server takes the new file by itself")
    for number, (certificate, issuer) in enumerate(pairwise(chain), start=1):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            yield Finding(
                "warn",
                f"{files.certificate}: certificate {number} ({subject(certificate)}) was not "
                f"issued by the one that follows it ({subject(issuer)}): some clients refuse that",
                "put each issuer's certificate after what it has issued, and nothing else",
            )


def _usage(files: TlsFiles, certificate: x509.Certificate) -> Iterator[Finding]:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:  # then it may be used for everything
        return
    if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & {*usage}:
        found = f"{files.certificate} is not for servers: clients will refuse it"
        yield Finding("fail", found, f"{REISSUE}, with the extended key usage serverAuth")


def _names(files: TlsFiles, certificate: x509.Certificate, host: str) -> Iterator[Finding]:
    stated = _stated(certificate)
    if not stated:
        yield Finding(
            "fail",
            f"{files.certificate} states no names (subjectAltName): clients will refuse it",
            f"{REISSUE}, with the names and addresses by which clients call",
        )
    elif host not in ANYWHERE and not is_local(host) and not _covers(certificate, host):
        yield Finding(
            "warn",
            f"{files.certificate} is for {', '.join(stated)}, not for --host {host}: clients that "
            f"call by that will refuse it",
            f"{REISSUE} with it, unless they call by one of those names",
        )


def _mode(files: TlsFiles) -> Iterator[Finding]:
    if files.key.stat().st_mode & stat.S_IROTH:
        found = f"anybody on this machine may read the private key {files.key}"
        yield Finding("warn", found, f"chmod 600 {files.key}")


def _authorities(files: TlsFiles, loaded: ServerCertificate, now: datetime) -> Iterator[Finding]:
    if loaded.client_ca is None:
        return
    ends = [each.not_valid_after_utc for each in x509.load_pem_x509_certificates(loaded.client_ca)]
    if max(ends) < now + SOON:
        found = f"the authorities in {files.client_ca} have expired by {moment(max(ends))}"
        yield Finding("warn", found, "add their successors, or no client can connect then")


def _alternatives(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return None
    return found.value


def _stated(certificate: x509.Certificate) -> list[str]:
    """Return the names and addresses that it is for."""
    names = _alternatives(certificate)
    if names is None:
        return []
    addresses = names.get_values_for_type(x509.IPAddress)
    return [*names.get_values_for_type(x509.DNSName), *map(str, addresses)]


def _covers(certificate: x509.Certificate, host: str) -> bool:
    names = _alternatives(certificate)
    if names is None:
        return False
    try:
        return ip_address(host) in names.get_values_for_type(x509.IPAddress)
    except ValueError:
        stated = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
        return not {host.lower(), f"*.{host.lower().partition('.')[2]}"}.isdisjoint(stated)
