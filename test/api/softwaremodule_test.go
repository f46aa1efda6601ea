// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"strings"
	"testing"
)

// artifact returns one file of a module with this name, SHA-256 and URL.
func artifact(name, sha256, url string) string {
	return fmt.Sprintf(`{fileName: %q, size: 10, checksums: {sha256: %q}, downloads: [{protocol: HTTPS, url: %q}]}`, name, sha256, url)
}

func TestSoftwareModule(t *testing.T) {
	var (
		sum   = strings.Repeat("0a", 32)
		other = strings.Repeat("0b", 32)
		cdn   = "https://cdn.example.com/rootfs.swu"
		one   = "{artifacts: [" + artifact("rootfs.swu", sum, cdn) + "]}"

		sentences = map[string]string{
			"artifacts": "spec.artifacts: artifacts is immutable once the module is locked, except their downloads: a DistributionSet in use or invalidated contains it; create another SoftwareModule",
			"metadata":  "spec.metadata: metadata that is visibleToDevice is immutable once the module is locked: a DistributionSet in use or invalidated contains it; create another SoftwareModule",
			"sha256":    "spec.artifacts[0].checksums.sha256: sha256 must be 64 lower-case hexadecimal digits, as sha256sum prints them",
			"url":       "spec.artifacts[0].downloads[0].url: url must be an absolute URL with a host, such as https://cdn.example.com/rootfs.swu",
			"fileName":  "spec.artifacts[0].fileName: fileName must be a plain file name without slashes or blanks",
		}
	)
	const locked = `{locked: true}`

	identity := map[string]schemaCase{
		"no artifacts, because metadata can be the whole update": {},
		"a type is required":             {given: `{type: null}`, refused: "spec.type: Required value"},
		"a name is required":             {given: `{name: ""}`, refused: "spec.name: spec.name in body should be at least 1 chars long"},
		"another type":                   {when: `{type: app}`, refused: "spec.type: type is immutable: create another SoftwareModule"},
		"another name":                   {when: `{name: linux-rt}`, refused: "spec.name: name is immutable: create another SoftwareModule"},
		"another version":                {when: `{version: "6.7"}`, refused: "spec.version: version is immutable: create another SoftwareModule"},
		"another vendor and description": {status: locked, when: `{vendor: acme, description: "the kernel and its root file system"}`},
		"a type with 64 characters":      {given: `{type: ` + long(64) + `}`},
		"a type with 65 characters":      {given: `{type: ` + long(65) + `}`, refused: "spec.type: Too long: may not be more than 64 bytes"},
		"a name with 129 characters":     {given: `{name: ` + long(129) + `}`, refused: "spec.name: Too long: may not be more than 128 bytes"},
		"a version with 65 characters":   {given: `{version: ` + long(65) + `}`, refused: "spec.version: Too long: may not be more than 64 bytes"},
		"rollback is Supported":          {given: `{rollback: Supported}`},
		"an unknown rollback":            {given: `{rollback: Maybe}`, refused: `spec.rollback: Unsupported value: "Maybe": supported values: "None", "Supported"`},
	}
	files := map[string]schemaCase{
		"a correct artifact": {given: one},
		"an artifact with all its checksums": {given: fmt.Sprintf(`{artifacts: [{fileName: a, size: 0, checksums: {sha256: %q, sha1: %q, md5: %q},
			downloads: [{protocol: FTP, url: "ftp://h/a", md5URL: "ftp://h/a.md5"}]}]}`, sum, sum[:40], sum[:32])},
		"a checksum is required": {given: `{artifacts: [{fileName: a, size: 1, checksums: {}, downloads: [{protocol: HTTP, url: "http://h/a"}]}]}`,
			refused: "spec.artifacts[0].checksums.sha256: Required value"},
		"sha256 in upper case":     {given: "{artifacts: [" + artifact("a", strings.ToUpper(sum), cdn) + "]}", refused: sentences["sha256"]},
		"sha256 that is too short": {given: "{artifacts: [" + artifact("a", "0a", cdn) + "]}", refused: sentences["sha256"]},
		"a wrong sha1": {given: fmt.Sprintf(`{artifacts: [{fileName: a, size: 1, checksums: {sha256: %q, sha1: abc}, downloads: [{protocol: HTTP, url: "http://h/a"}]}]}`, sum),
			refused: "spec.artifacts[0].checksums.sha1: sha1 must be 40 lower-case hexadecimal digits, as sha1sum prints them"},
		"a wrong md5": {given: fmt.Sprintf(`{artifacts: [{fileName: a, size: 1, checksums: {sha256: %q, md5: abc}, downloads: [{protocol: HTTP, url: "http://h/a"}]}]}`, sum),
			refused: "spec.artifacts[0].checksums.md5: md5 must be 32 lower-case hexadecimal digits, as md5sum prints them"},
		"a url without scheme":    {given: "{artifacts: [" + artifact("a", sum, "cdn.example.com/a") + "]}", refused: sentences["url"]},
		"a url without host":      {given: "{artifacts: [" + artifact("a", sum, "https:///a") + "]}", refused: sentences["url"]},
		"a url with a blank":      {given: "{artifacts: [" + artifact("a", sum, "https://h/a b") + "]}", refused: sentences["url"]},
		"a url of another scheme": {given: "{artifacts: [" + artifact("a", sum, "file:///etc/passwd") + "]}", refused: sentences["url"]},
		"a url that is too long": {given: "{artifacts: [" + artifact("a", sum, "https://h/"+long(2048)) + "]}",
			refused: "spec.artifacts[0].downloads[0].url: Too long: may not be more than 2048 bytes"},
		"an md5URL that is not a url": {given: fmt.Sprintf(`{artifacts: [{fileName: a, size: 1, checksums: {sha256: %q}, downloads: [{protocol: HTTP, url: "http://h/a", md5URL: a.md5}]}]}`, sum),
			refused: "spec.artifacts[0].downloads[0].md5URL: md5URL must be an absolute URL with a host"},
		"an unknown protocol": {given: fmt.Sprintf(`{artifacts: [{fileName: a, size: 1, checksums: {sha256: %q}, downloads: [{protocol: https, url: "http://h/a"}]}]}`, sum),
			refused: `spec.artifacts[0].downloads[0].protocol: Unsupported value: "https": supported values: "HTTP", "HTTPS", "FTP", "SFTP", "OCI"`},
		"a file without downloads": {given: fmt.Sprintf(`{artifacts: [{fileName: a, size: 1, checksums: {sha256: %q}, downloads: []}]}`, sum),
			refused: "spec.artifacts[0].downloads: spec.artifacts[0].downloads in body should have at least 1 items"},
		"a file with 11 downloads": {given: fmt.Sprintf(`{artifacts: [{fileName: a, size: 1, checksums: {sha256: %q}, downloads: %s}]}`, sum, list(11, `{protocol: HTTP, url: "http://h/%d"}`)),
			refused: "spec.artifacts[0].downloads: Too many: 11: must have at most 10 items"},
		"a file name with a slash": {given: "{artifacts: [" + artifact("../a", sum, cdn) + "]}", refused: sentences["fileName"]},
		"a file name with a blank": {given: "{artifacts: [" + artifact("a b", sum, cdn) + "]}", refused: sentences["fileName"]},
		"a negative size": {given: fmt.Sprintf(`{artifacts: [{fileName: a, size: -1, checksums: {sha256: %q}, downloads: [{protocol: HTTP, url: "http://h/a"}]}]}`, sum),
			refused: "spec.artifacts[0].size: spec.artifacts[0].size in body should be greater than or equal to 0"},
		"a file name twice": {given: "{artifacts: [" + artifact("a", sum, cdn) + "," + artifact("a", other, cdn) + "]}",
			refused: `spec.artifacts[1]: Duplicate value: {"fileName":"a"}`},
		"50 artifacts": {given: "{artifacts: " + list(50, artifact("f%d", sum, cdn)) + "}"},
		"51 artifacts": {given: "{artifacts: " + list(51, artifact("f%d", sum, cdn)) + "}", refused: "spec.artifacts: Too many: 51: must have at most 50 items"},
		"101 metadata": {given: "{metadata: " + list(101, "{key: k%d}") + "}", refused: "spec.metadata: Too many: 101: must have at most 100 items"},
		"metadata with a key of Goshawk": {given: "{metadata: [{key: goshawk-agent.remove, value: 'true'}]}",
			refused: "spec.metadata[0].key: key must not start with goshawk-agent.: Goshawk itself sends such keys to devices"},
		"metadata of 4000 characters": {given: `{metadata: [{key: k, value: ` + long(4000) + `}]}`},
		"metadata of 4001 characters": {given: `{metadata: [{key: k, value: ` + long(4001) + `}]}`, refused: "spec.metadata[0].value: Too long: may not be more than 4000 bytes"},
	}
	blob := "oci://registry.example.com/os/rootfs@sha256:" + sum
	file := func(downloads string) string {
		return fmt.Sprintf("[{fileName: a, size: 1, checksums: {sha256: %q}, downloads: [%s]}]", sum, downloads)
	}
	const (
		https   = `{protocol: HTTPS, url: "https://h/a"}`
		ftp     = `{protocol: FTP, url: "ftp://h/a"}`
		ociURL  = "spec.artifacts[0].downloads[0].url: protocol OCI goes with a url such as oci://registry.example.com/os/rootfs@sha256:<digest of the blob>, and such a url goes with protocol OCI"
		digest  = "spec.artifacts[0].downloads: the digest in the url of a download with protocol OCI must be checksums.sha256: give the digest of the blob with the file, not that of its manifest"
		noProxy = "spec.artifacts: with delivery: Proxy each artifact needs a download with protocol HTTPS, HTTP or OCI: add one, or choose delivery: Direct"
		noLink  = "spec.artifacts: devices cannot fetch from OCI registries: with delivery: Direct each artifact needs a download with another protocol than OCI; add one, or choose delivery: Proxy"
	)
	oci := fmt.Sprintf("{protocol: OCI, url: %q}", blob)
	delivery := map[string]schemaCase{
		"delivery is Proxy":                           {given: "{delivery: Proxy, artifacts: " + file(https) + "}"},
		"delivery is Direct":                          {given: "{delivery: Direct, artifacts: " + file(https) + "}"},
		"delivery is no other word":                   {given: "{delivery: proxy}", refused: `spec.delivery: Unsupported value: "proxy": supported values: "Direct", "Proxy"`},
		"delivery without artifacts":                  {given: "{delivery: Proxy}"},
		"delivery of a locked module changes":         {given: "{delivery: Direct, artifacts: " + file(https) + "}", status: locked, when: "{delivery: Proxy}"},
		"delivery of a locked module is removed":      {given: "{delivery: Proxy, artifacts: " + file(https) + "}", status: locked, when: "{delivery: null}"},
		"a blob of a registry":                        {given: "{artifacts: " + file(oci) + "}"},
		"a blob of a registry with a port":            {given: "{artifacts: " + file(strings.Replace(oci, ".com/", ".com:5000/", 1)) + "}"},
		"a blob with a pull Secret":                   {given: "{artifacts: " + file(strings.Replace(oci, "}", ", pullSecretRef: {name: registry}}", 1)) + "}"},
		"a pull Secret without a name":                {given: "{artifacts: " + file(strings.Replace(oci, "}", `, pullSecretRef: {name: ""}}`, 1)) + "}", refused: "spec.artifacts[0].downloads[0].pullSecretRef.name: spec.artifacts[0].downloads[0].pullSecretRef.name in body should be at least 1 chars long"},
		"a pull Secret for HTTPS":                     {given: "{artifacts: " + file(strings.Replace(https, "}", ", pullSecretRef: {name: registry}}", 1)) + "}", refused: "spec.artifacts[0].downloads[0].pullSecretRef: pullSecretRef goes with protocol OCI only: remove it, or use protocol OCI"},
		"an md5URL of a blob":                         {given: "{artifacts: " + file(strings.Replace(oci, "}", `, md5URL: "https://h/a"}`, 1)) + "}", refused: "spec.artifacts[0].downloads[0].md5URL: md5URL does not go with protocol OCI: remove it"},
		"a blob and a mirror":                         {given: "{delivery: Direct, artifacts: " + file(oci+","+https) + "}"},
		"a blob with a tag":                           {given: `{artifacts: ` + file(`{protocol: OCI, url: "oci://registry.example.com/os/rootfs:1.0"}`) + "}", refused: ociURL},
		"a blob without a repository":                 {given: `{artifacts: ` + file(`{protocol: OCI, url: "oci://registry.example.com@sha256:`+sum+`"}`) + "}", refused: ociURL},
		"protocol OCI with an https URL":              {given: `{artifacts: ` + file(`{protocol: OCI, url: "https://h/a"}`) + "}", refused: ociURL},
		"protocol HTTPS with an oci URL":              {given: "{artifacts: " + file(strings.Replace(oci, "OCI", "HTTPS", 1)) + "}", refused: ociURL},
		"the digest of a manifest":                    {given: "{artifacts: " + file(strings.Replace(oci, sum, other, 1)) + "}", refused: digest},
		"Proxy needs a download that Goshawk fetches": {given: "{delivery: Proxy, artifacts: " + file(ftp) + "}", refused: noProxy},
		"Direct needs a download for devices":         {given: "{delivery: Direct, artifacts: " + file(oci) + "}", refused: noLink},
		"50 artifacts with 10 downloads, by Proxy":    {given: "{delivery: Proxy, artifacts: " + list(50, fmt.Sprintf("{fileName: f%%d, size: 1, checksums: {sha256: %q}, downloads: [%s]}", sum, strings.Repeat(oci+",", 9)+oci)) + "}"},
	}
	lock := map[string]schemaCase{
		"other artifacts before the lock": {given: one, when: "{artifacts: [" + artifact("b", other, cdn) + "]}"},
		"other downloads of a locked module": {given: one, status: locked,
			when: "{artifacts: [" + artifact("rootfs.swu", sum, "https://elsewhere.example.com/x?token=1") + "]}"},
		"another checksum of a locked module": {given: one, status: locked,
			when: "{artifacts: [" + artifact("rootfs.swu", other, cdn) + "]}", refused: sentences["artifacts"]},
		"another size of an artifact of a locked module": {given: one, status: locked,
			when: strings.ReplaceAll(one, "size: 10", "size: 11"), refused: sentences["artifacts"]},
		"one more artifact of a locked module": {given: one, status: locked,
			when: "{artifacts: [" + artifact("rootfs.swu", sum, cdn) + "," + artifact("b", sum, cdn) + "]}", refused: sentences["artifacts"]},
		"the first artifact of a locked module":     {status: locked, when: one, refused: sentences["artifacts"]},
		"an artifact of a locked module is removed": {given: one, status: locked, when: `{artifacts: null}`, refused: sentences["artifacts"]},
		"artifacts of a locked module in another order": {given: "{artifacts: [" + artifact("a", sum, cdn) + "," + artifact("b", other, cdn) + "]}", status: locked,
			when: "{artifacts: [" + artifact("b", other, cdn) + "," + artifact("a", sum, cdn) + "]}"},
		"other hidden metadata of a locked module": {given: `{metadata: [{key: k, value: v}]}`, status: locked, when: `{metadata: [{key: k, value: w}, {key: l}]}`},
		"other visible metadata of a locked module": {given: `{metadata: [{key: k, value: v, visibleToDevice: true}]}`, status: locked,
			when: `{metadata: [{key: k, value: w, visibleToDevice: true}]}`, refused: sentences["metadata"]},
		"visible metadata of a locked module are hidden": {given: `{metadata: [{key: k, value: v, visibleToDevice: true}]}`, status: locked,
			when: `{metadata: [{key: k, value: v}]}`, refused: sentences["metadata"]},
		"visible metadata of a locked module are removed": {given: `{metadata: [{key: k, value: v, visibleToDevice: true}]}`, status: locked,
			when: `{metadata: null}`, refused: sentences["metadata"]},
		"new visible metadata of a locked module": {status: locked, when: `{metadata: [{key: k, visibleToDevice: true}]}`, refused: sentences["metadata"]},
		"visible metadata in another order": {given: `{metadata: [{key: k, visibleToDevice: true}, {key: l, visibleToDevice: true}]}`, status: locked,
			when: `{metadata: [{key: l, visibleToDevice: true}, {key: k, value: "", visibleToDevice: true}]}`},
	}
	testSchema(t, "SoftwareModule", all(identity, files, delivery, lock))
}
