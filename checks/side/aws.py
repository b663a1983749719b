"""`aws cloudtrail validate-logs` on a bucket of moto's server.

moto has S3 and DescribeTrails. It lacks ListPublicKeys, by which AWS gives out the public keys that
digests are checked with; that one call is added here, and nothing else stands in for anything.
"""

import base64
import json
import logging
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import boto3
from moto.cloudtrail.responses import CloudTrailResponse
from moto.server import ThreadedMotoServer

from trail import ACCOUNT, BUCKET, HOURS, NAME, REGION, START, time_text

ARN = f"arn:aws:cloudtrail:{REGION}:{ACCOUNT}:trail/{NAME}"


class Aws:
    """A bucket with a trail, and the command that validates it."""

    def __init__(self, signer):
        def list_public_keys(_):
            return json.dumps({"PublicKeyList": [{
                "Value": base64.b64encode(signer.public).decode(),
                "ValidityStartTime": START.timestamp(),
                "ValidityEndTime": (START + timedelta(days=1)).timestamp(),
                "Fingerprint": signer.fingerprint,
            }]})

        CloudTrailResponse.list_public_keys = list_public_keys
        logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for each request
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)

    def __enter__(self):
        self.server.start()
        host, port = self.server.get_host_and_port()
        os.environ["NO_PROXY"] = host  # whatever proxy this machine uses for the rest
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.startswith("AWS_")} | {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        options = {"endpoint_url": f"http://{host}:{port}", "region_name": REGION,
                   "aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        self.s3 = boto3.client("s3", **options)
        self.s3.create_bucket(Bucket=BUCKET)
        boto3.client("cloudtrail", **options).create_trail(Name=NAME, S3BucketName=BUCKET)
        return self

    def __exit__(self, *_):
        self.server.stop()

    def put(self, objects):
        """Makes these the bucket's objects, and no others."""
        for found in self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", []):
            self.s3.delete_object(Bucket=BUCKET, Key=found["Key"])
        for key, (data, metadata) in objects.items():
            self.s3.put_object(Bucket=BUCKET, Key=key, Body=data, Metadata=metadata)

    def validate(self):
        """What the command says, line by line, and its exit code."""
        done = self.run(QUESTION)
        said = [short(line) for line in (done.stderr + "\n" + done.stdout).splitlines()]
        return [line for line in said if line and not line.startswith(REPEATS)], done.returncode

    def fails(self, option, value=None):
        """The last line and the exit code with another value of an option, or without it."""
        question = {name: text for name, text in QUESTION.items() if name != option}
        done = self.run(question | ({option: value} if value else {}))
        return done.stderr.strip().splitlines()[-1].strip(), done.returncode

    def run(self, question):
        words = [word for pair in question.items() for word in pair]
        return subprocess.run(
            [Path(sys.executable).with_name("aws"), "cloudtrail", "validate-logs", *words],
            env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=120)


QUESTION = {"--trail-arn": ARN, "--start-time": time_text(START),
            "--end-time": time_text(START + timedelta(hours=HOURS))}

# What it says about the question, whatever the answer.
REPEATS = ("Validating log files for trail", "Results requested for")


def short(line):
    """A line with the name of a file in place of its long address."""
    parts = line.strip().split("\t")
    return "  ".join("…/" + part.rsplit("/", 1)[1] if part.startswith("s3://") else part
                     for part in parts)
