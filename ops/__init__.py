"""How the stack is operated. Read in this order; imports point up this list only.

- Values: `errors`, `values`, `envfile`, `settings`, `egress` (where the server may go), `sizing`
  (what a machine gives the services),
  `generations` (how long a backup is kept), `digests` (what tells contents apart),
  `moments` (as a person writes them), `access_log` (a line of NGINX's).
- The outside world: `console` (what a person sees), `consent` (what one agrees to), `preflight`
  (checks that change nothing), `hosts` (where commands run).
- The certificate of the front door: `key_pairs` (one with its key), `private_ca` (the stack's own
  CA), `acme_orders` (others); `certifier` is the main program of the service that has it made, in
  a container. `certificates`: what that service is told. `front_door`: HTTP as a client speaks it.
- AWS: `scopes` and `permissions` (what our calls need, and on what), `aws` (who we are there, and
  its errors in our words), `caller` (the former shown), `ecr` (a registry of images).
- Buckets: `bucket_wishes` (what a person wants), `bucket_rules` (policy, lifecycle and the like as
  documents), `buckets` (one as we reach it), `bucket_aspects` (how one is and should be),
  `bucket_access` and `bucket_keeping` (who gets in, what is kept how long); `create_bucket` is what
  the task calls.
- Hosts over SSH: `host_keys` (which hosts are the right ones), `routes` (the way to one),
  `identities` (who we are), `logins` (in at its door), `channels`, `tunnels` and `terminals` (what
  runs through a connection), `ssh` (such a host), `paper` (the same for a dry run), `trust` (how a
  host key becomes a known one), `key_files` (keys as EC2 needs them).
- `database` (where MySQL is), `oidc` (login by an identity provider), `secret_files`, `nginx`,
  `stack`: settings turned into what NGINX, Compose and MLflow read.
- Backups: `age_keys` (who can open them), `sheet` (how, without this repository); `backup_keys` is
  what the task calls.
- `checks` says what a check is. `protection`: how well a
  database is backed up. `certificate_state`: how long a certificate is good for. `states`: what is
  known of a stack. `containers`: how Docker shows it.
- Images on their way: `layers` (what `docker save` writes), `archive` (what `docker load` takes),
  `images` (what a machine has), `transfer` to hosts, `registry` in between.
- `jobs`: our own jobs beside the server. `access_files`: where its access log is.
- What is backed up: `gtids` (sets of transactions), `binlog` (what MySQL writes down of them),
  `chain` (stored pieces of that, and the way through them).
- The backup service, which runs in a container beside MySQL: `seals` (packed and encrypted),
  `tarball`, `vault` (the place in S3), `manifest` (what a backup says of itself), `donor` (MySQL as
  it is asked), `base` (a copy of it), `dump` (it as
  SQL), `shipping` (its logs), `fetching` (a backup unpacked);
  `keeper` is its main program. `accounts`: the users of MySQL; `revisions`: of its schemas.
- `rotation`: in which order a secret is replaced, and what is left of one that was cut off.
- Engines, which do the work: `environment` and `embedded`, `compose`; `engines` chooses one.
- `smoke` proves a server. `load` (clients that ask all at once) and `throughput` (what of) measure
  one. `server` is what the tasks call on this machine.
- Deploying: `release` (what a host needs to run one state of the stack), `audit` (the record of
  what was done), `site` (the stack's folder on a host), `readiness` (what a host has to have),
  `supply` (images on the hosts), `lease` (the lock), `switch` (one host's way to a release and
  back), `hold` (writes that wait there), `probe` (a client that counts), `prune` (what is needed no
  more), `rollout` (all hosts together), `fleet` (the hosts a command is for), `dry` (a host
  imagined for a dry run); `builds`, `deploys` and `remote` are what the tasks call, and `activity`:
  who did what. `policies`: what IAM has to allow for all of it.
- People who log in: `passwords`, `resources` (what one can have a right to), `users` (who there is
  on a server, and with which rights), `members` (the same where an identity provider says so);
  `people` is what the tasks call.
- Another secret: `premises` (where it is replaced), `renewals` (how, for each).
  `tokens`: what programs log in with.
- A database brought back: `homes` (where it is to be), `scratch` (a MySQL on restored data that
  nobody else reaches), `artifacts` (what it needs in S3), `restore`; `reading` (an MLflow on it),
  `evidence` (what a drill leaves), `drill`; `backups` orders, lists and verifies.
- A newer version: `rehearsal` (on a restored copy), `way_back` (a moment to come back to);
  `upgrade` is what the task calls.
- A host on EC2: `ec2_images` and `ec2_place` (what it is started from, and where), `ec2_part` (what
  its parts have in common), `ec2_role`, `ec2_key`, `ec2_firewall`, `ec2_volume`, `ec2_instance`,
  `ec2_address`; `ec2_host` puts them in order; `prices`; `provision` makes one, `ec2_hosts` lists
  and ends them.
- A bare host made ready: `steps` (what one is), `distributions`, `packages`, `daemon`, `plugin`,
  `upkeep`, `data_device`; `prepare` puts them in order.
- `patient` is a host under examination: `checks_host`, `checks_stack`, `checks_s3`,
  `checks_backups`, `checks_door`, `checks_local`; `doctor` makes them all.

`migration`, `rekeying`, `issuing` and `reader` stand apart: they run beside MLflow, as jobs of
their own, and import nothing from here.
"""
