"""A CloudTrail archive, as AWS documents it: log files, and signed digest files that name them.

Written from "CloudTrail digest file structure" and "Custom implementations of CloudTrail log file
integrity validation" in AWS's user guide. Here: the bytes of the objects. Not here: where they go.
"""

import gzip
import hashlib
import json
from datetime import datetime, timedelta, timezone

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ACCOUNT, REGION, NAME, BUCKET = "123456789012", "us-east-1", "side", "side-by-side"
START = datetime(2026, 11, 23, 14, tzinfo=timezone.utc)  # the golden archive's first hour
HOURS = 3
LOGS_AN_HOUR = 12  # CloudTrail delivers about every five minutes


def time_text(time):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def digest_key(hour):
    """Where the digest file lies that closes the hour of this number."""
    end = START + timedelta(hours=hour + 1)
    return (f"AWSLogs/{ACCOUNT}/CloudTrail-Digest/{REGION}/{end:%Y/%m/%d}/{ACCOUNT}_CloudTrail-"
            f"Digest_{REGION}_{NAME}_{REGION}_{end:%Y%m%dT%H%M%SZ}.json.gz")


def log_key(hour, index):
    time = log_time(hour, index)
    unique = hashlib.sha256(f"{hour} {index}".encode()).hexdigest()[:16]
    return (f"AWSLogs/{ACCOUNT}/CloudTrail/{REGION}/{time:%Y/%m/%d}/{ACCOUNT}_CloudTrail_{REGION}_"
            f"{time:%Y%m%dT%H%MZ}_{unique}.json.gz")


def log_time(hour, index):
    return START + timedelta(hours=hour, minutes=index * 60 // LOGS_AN_HOUR)


def log_text(hour, index, event="GetObject"):
    """A log file's content: one record of one call."""
    return json.dumps({"Records": [{
        "eventVersion": "1.11", "eventTime": time_text(log_time(hour, index)),
        "eventSource": "s3.amazonaws.com", "eventName": event, "awsRegion": REGION,
        "userIdentity": {"type": "IAMUser", "accountId": ACCOUNT, "userName": "agent-7"},
        "eventID": f"00000000-0000-4000-8000-{hour:04}{index:08}", "recipientAccountId": ACCOUNT,
    }]}).encode()


class Signer:
    """Stands for AWS: the key pair of the region, whose private half AWS alone has."""

    def __init__(self):
        self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.public = self.private.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
        self.fingerprint = hashlib.md5(self.public, usedforsecurity=False).hexdigest()

    def sign(self, text):
        return self.private.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()).hex()


class Trail:
    """What CloudTrail delivered: the contents of log files, by hour and index."""

    def __init__(self, signer):
        self.signer = signer
        self.logs = {(hour, index): log_text(hour, index)
                     for hour in range(HOURS) for index in range(LOGS_AN_HOUR)}

    def objects(self):
        """All objects of the archive: key -> (bytes, metadata), each digest signed."""
        objects = {log_key(*place): (packed(text), {}) for place, text in self.logs.items()}
        previous = None
        for hour in range(HOURS):
            text = self.digest(hour, previous)
            objects[digest_key(hour)], previous = self.signed(hour, text, previous)
        return objects

    def digest(self, hour, previous):
        logs = [(log_key(*place), log_time(*place), text)
                for place, text in sorted(self.logs.items()) if place[0] == hour]
        before = previous or {"key": None, "sha256": None, "signature": None}
        return json.dumps({
            "awsAccountId": ACCOUNT,
            "digestStartTime": time_text(START + timedelta(hours=hour)),
            "digestEndTime": time_text(START + timedelta(hours=hour + 1)),
            "digestS3Bucket": BUCKET, "digestS3Object": digest_key(hour),
            "digestPublicKeyFingerprint": self.signer.fingerprint,
            "digestSignatureAlgorithm": "SHA256withRSA",
            "newestEventTime": time_text(logs[-1][1]), "oldestEventTime": time_text(logs[0][1]),
            "previousDigestS3Bucket": BUCKET if previous else None,
            "previousDigestS3Object": before["key"],
            "previousDigestHashValue": before["sha256"],
            "previousDigestHashAlgorithm": "SHA-256" if previous else None,
            "previousDigestSignature": before["signature"],
            "logFiles": [{
                "s3Bucket": BUCKET, "s3Object": key, "hashValue": hashlib.sha256(text).hexdigest(),
                "hashAlgorithm": "SHA-256", "newestEventTime": time_text(time),
                "oldestEventTime": time_text(time),
            } for key, time, text in logs],
        }).encode()

    def signed(self, hour, text, previous):
        """The digest file with its metadata, and what the next one says about it."""
        key, sha256 = digest_key(hour), hashlib.sha256(text).hexdigest()
        end = time_text(START + timedelta(hours=hour + 1))
        before = previous["signature"] if previous else "null"
        signature = self.signer.sign(f"{end}\n{BUCKET}/{key}\n{sha256}\n{before}")
        metadata = {"signature": signature, "signature-algorithm": "SHA256withRSA"}
        return (packed(text), metadata), {"key": key, "sha256": sha256, "signature": signature}


def packed(text):
    return gzip.compress(text, mtime=0)
