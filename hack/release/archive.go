// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"maps"
	"path"
	"slices"
	"time"
)

// file is a file of an archive.
type file struct {
	content []byte
	mode    int64
}

// archive returns a tar file. Its bytes depend only on the arguments. With folders, the folders of
// the files have entries as well, as layers of images need them.
func archive(files map[string]file, when time.Time, folders bool) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	known := map[string]bool{".": true}
	var add func(folder string)
	add = func(folder string) {
		if known[folder] {
			return
		}
		add(path.Dir(folder))
		known[folder] = true
		must(w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: folder + "/", Mode: 0o755, ModTime: when, Format: tar.FormatPAX}))
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if folders {
			add(path.Dir(name))
		}
		f := files[name]
		must(w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: f.mode, Size: int64(len(f.content)), ModTime: when, Format: tar.FormatPAX}))
		_, err := w.Write(f.content)
		must(err)
	}
	must(w.Close())
	return out.Bytes()
}

// compress returns the content compressed with gzip, without a name and a time.
func compress(content []byte) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	must(err)
	_, err = w.Write(content)
	must(err)
	must(w.Close())
	return out.Bytes()
}

// must is for writes into a buffer, which have no errors.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
