// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
)

const source = "https://github.com/goshawk-dev/goshawk"

// platform is an operating system and processor that a program is built for.
type platform struct {
	// architecture and variant are as in GOARCH and in images.
	architecture, variant string
	// debian is the name of the architecture in Debian.
	debian string
}

// container is what an image has beside the certificate authorities: one static program.
type container struct {
	// name is that of the program, and the title of the image.
	name, description, user string
	platforms               []platform
}

// managerImage has the labels and the user of the Dockerfile; a test compares them.
var managerImage = container{
	name: "goshawk", description: "Device software rollouts for Kubernetes, the GitOps way", user: "65532:65532",
	platforms: []platform{{architecture: "amd64"}, {architecture: "arm64"}},
}

func (r release) labels(c container) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":         c.name,
		"org.opencontainers.image.description":   c.description,
		"org.opencontainers.image.licenses":      "Apache-2.0",
		"org.opencontainers.image.source":        source,
		"org.opencontainers.image.documentation": source + "/tree/" + r.version + "/docs",
		"org.opencontainers.image.version":       r.version,
		"org.opencontainers.image.revision":      r.revision,
	}
}

// writeImages builds the images of the manager and of the agent, and writes them as tar files.
func (r release) writeImages(ctx context.Context, to, agentTo string) error {
	managers, err := r.buildManagers(ctx)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, r.image(managerImage, managers), 0o644); err != nil {
		return err
	}
	agents, err := r.buildAgents(ctx)
	if err != nil {
		return err
	}
	return os.WriteFile(agentTo, r.image(agentImage, agents), 0o644)
}

// layout is an OCI image layout: files of a folder, or entries of a tar file.
type layout map[string]file

func (l layout) add(content []byte, mediaType string) ocispec.Descriptor {
	d := digest.FromBytes(content)
	l["blobs/sha256/"+d.Encoded()] = file{content, 0o644}
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))}
}

func (l layout) addJSON(value any, mediaType string) ocispec.Descriptor {
	text, err := json.Marshal(value)
	must(err)
	return l.add(text, mediaType)
}

// image returns the image of the programs, by platform, as an OCI layout in a tar file. Its only
// layer has the program and the certificate authorities.
func (r release) image(c container, programs map[platform][]byte) []byte {
	l := layout{}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Annotations: r.labels(c)}
	for _, p := range c.platforms {
		platform := ocispec.Platform{OS: "linux", Architecture: p.architecture, Variant: p.variant}
		files := archive(map[string]file{
			c.name:                              {programs[p], 0o755},
			"etc/ssl/certs/ca-certificates.crt": {certificates(), 0o644},
		}, r.time, true)
		config := l.addJSON(ocispec.Image{
			Created: &r.time, Platform: platform,
			Config:  ocispec.ImageConfig{User: c.user, Entrypoint: []string{"/" + c.name}, WorkingDir: "/", Labels: r.labels(c)},
			RootFS:  ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(files)}},
			History: []ocispec.History{{Created: &r.time, CreatedBy: "hack/release"}},
		}, ocispec.MediaTypeImageConfig)
		manifest := l.addJSON(ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config,
			Layers: []ocispec.Descriptor{l.add(compress(files), ocispec.MediaTypeImageLayerGzip)},
		}, ocispec.MediaTypeImageManifest)
		manifest.Platform = &platform
		index.Manifests = append(index.Manifests, manifest)
	}
	top := l.addJSON(index, ocispec.MediaTypeImageIndex)
	top.Annotations = map[string]string{ocispec.AnnotationRefName: r.version}
	text, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{top}})
	must(err)
	l[ocispec.ImageIndexFile] = file{text, 0o644}
	l[ocispec.ImageLayoutFile] = file{[]byte(`{"imageLayoutVersion":"` + ocispec.ImageLayoutVersion + `"}`), 0o644}
	return archive(l, r.time, false)
}

// push copies the only image of a tar file to a registry, for all platforms, and prints its digest.
func push(ctx context.Context, from, to string, plainHTTP bool) error {
	reference, err := registry.ParseReference(to)
	if err != nil {
		return fmt.Errorf("image %s: %w", to, err)
	}
	if reference.ValidateReferenceAsTag() != nil {
		return fmt.Errorf("image %s: give it a tag, such as %s/%s:v0.1.0", to, reference.Registry, reference.Repository)
	}
	store, err := oci.NewFromTar(ctx, from)
	if err != nil {
		return fmt.Errorf("read the image in %s: %w", from, err)
	}
	tag := ""
	if err := store.Tags(ctx, "", func(tags []string) error { tag = tags[0]; return nil }); err != nil {
		return fmt.Errorf("read the image in %s: %w", from, err)
	}
	repository, err := remote.NewRepository(reference.Registry + "/" + reference.Repository)
	if err != nil {
		return err
	}
	repository.PlainHTTP = plainHTTP
	logins, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
	if err != nil {
		return fmt.Errorf("read the credentials of docker login: %w", err)
	}
	repository.Client = &auth.Client{Client: auth.DefaultClient.Client, Cache: auth.NewCache(), Credential: credentials.Credential(logins)}
	pushed, err := oras.Copy(ctx, store, tag, repository, reference.Reference, oras.DefaultCopyOptions)
	if err != nil {
		return fmt.Errorf("push %s: %w", to, err)
	}
	fmt.Printf("pushed %s@%s\n", to, pushed.Digest)
	return nil
}
