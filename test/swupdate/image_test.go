// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package swupdate

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// signer signs images for devices with its certificate.
type signer struct{ folder string }

func newSigner(t testing.TB) signer {
	t.Helper()
	s := signer{folder: t.TempDir()}
	run(t, s.folder, "", "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2",
		"-subj", "/CN=signer of a test", "-addext", "extendedKeyUsage=emailProtection", "-addext", "keyUsage=digitalSignature")
	return s
}

func (s signer) certificate() string { return filepath.Join(s.folder, "cert.pem") }

// image installs one file, and then runs a script whose exit code is the result.
type image struct {
	fileName string
	content  []byte
	// trickles, if not nil, makes downloads take minutes. After each byte a value is sent to it if
	// the test waits for one.
	trickles chan struct{}
	// asked, if not nil, is called for every request to the host of the image.
	asked func(*http.Request)
	// cut, if not nil, is called for every request. If it returns true, only half of the image is
	// sent.
	cut func(*http.Request) bool
}

// build returns an image that writes text to the file at path and whose script ends with exitCode.
func (s signer) build(t testing.TB, version, path, text string, exitCode int) image {
	t.Helper()
	folder := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = postinst ] && exit %d\nexit 0\n", exitCode)
	write(t, filepath.Join(folder, "app.bin"), text)
	write(t, filepath.Join(folder, "post.sh"), script)
	write(t, filepath.Join(folder, "sw-description"), fmt.Sprintf(`software = {
  version = %q; hardware-compatibility: [ "1.0" ];
  files: ( { filename = "app.bin"; path = %q; sha256 = "%x"; properties: { create-destination = "true"; } } );
  scripts: ( { filename = "post.sh"; type = "shellscript"; sha256 = "%x"; } );
}
`, version, path, sha256.Sum256([]byte(text)), sha256.Sum256([]byte(script))))
	run(t, folder, "", "openssl", "cms", "-sign", "-in", "sw-description", "-out", "sw-description.sig", "-signer", s.certificate(),
		"-inkey", filepath.Join(s.folder, "key.pem"), "-outform", "DER", "-nosmimecap", "-binary")
	content := run(t, folder, "sw-description\nsw-description.sig\napp.bin\npost.sh\n", "cpio", "-o", "-H", "crc", "--quiet")
	return image{fileName: "image-" + version + ".swu", content: content}
}

// serve starts a server for the image, and returns the artifact for a SoftwareModule.
func (i image) serve(t testing.TB) (artifact string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i.asked != nil {
			i.asked(r)
		}
		if i.trickles != nil && r.Method == http.MethodGet {
			i.trickle(w, r)
			return
		}
		if i.cut != nil && i.cut(r) {
			w.Header().Set("Content-Length", strconv.Itoa(len(i.content)))
			sendHalf(w, i.content)
		}
		http.ServeContent(w, r, i.fileName, time.Time{}, bytes.NewReader(i.content))
	}))
	t.Cleanup(server.Close)
	sum256, sum1 := sha256.Sum256(i.content), sha1.Sum(i.content)
	return fmt.Sprintf(`{fileName: %s, size: %d, checksums: {sha256: "%s", sha1: "%s"}, downloads: [{protocol: HTTP, url: "%s/%s"}]}`,
		i.fileName, len(i.content), hex.EncodeToString(sum256[:]), hex.EncodeToString(sum1[:]), server.URL, i.fileName)
}

// trickle sends the image so slowly that it takes minutes. It never stops completely, because
// swupdate checks for a cancel only when data arrives.
func (i image) trickle(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", strconv.Itoa(len(i.content)))
	for at := range i.content {
		_, _ = w.Write(i.content[at : at+1])
		_ = http.NewResponseController(w).Flush()
		select {
		case i.trickles <- struct{}{}:
		case <-time.After(100 * time.Millisecond):
		case <-r.Context().Done():
			return
		}
	}
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

func run(t testing.TB, folder, stdin, program string, args ...string) []byte {
	t.Helper()
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(t.Context(), program, args...)
	command.Dir, command.Stdin, command.Stdout, command.Stderr = folder, strings.NewReader(stdin), &stdout, &stderr
	if err := command.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, stderr.String())
	}
	return stdout.Bytes()
}
