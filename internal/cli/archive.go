// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
)

const (
	// archiveKey is the key of a report in a ConfigMap, and compressedKey that of a report that is
	// compressed by gzip.
	archiveKey    = "report.json"
	compressedKey = "report.json.gz"
	// maxPlain is the size of a report in bytes above which it is compressed, and maxArchive the
	// size above which failed targets are left out: a ConfigMap holds at most 1 MiB.
	maxPlain   = 512 << 10
	maxArchive = 900 << 10
	// maxUnpacked is how much of a compressed report is read.
	maxUnpacked = 256 << 20
)

// archiveName returns the name of the ConfigMap for a report: one for each UID, because a rollout
// that is created again is another one.
func archiveName(rollout, uid string) string {
	sum := sha256.Sum256([]byte(uid))
	const most = 200 // of 253 characters
	if len(rollout) > most {
		rollout = strings.TrimRight(rollout[:most], "-.")
	}
	return "goshawk-report-" + rollout + "-" + hex.EncodeToString(sum[:4])
}

// archive writes a report to its ConfigMap, which it creates or replaces.
func (o *Options) archive(ctx context.Context, report *explain.Report) error {
	if report.ArchivedAt != nil {
		return fixed{fmt.Errorf("rollout %s/%s does not exist any more, and its report is archived already", report.Namespace, report.Rollout), "leave --archive out"}
	}
	c, err := o.Client()
	if err != nil {
		return err
	}
	next, leftOut, err := archiveOf(report, o.Now())
	if err != nil {
		return err
	}
	old := &corev1.ConfigMap{}
	switch err := c.Get(ctx, client.ObjectKeyFromObject(next), old); {
	case apierrors.IsNotFound(err):
		if err := c.Create(ctx, next, client.FieldOwner(FieldManager)); err != nil {
			return err
		}
	case err != nil:
		return err
	case old.Annotations[v1alpha1.ReportUIDAnnotation] != report.UID:
		return fixed{fmt.Errorf("ConfigMap %s/%s exists and is no report of this rollout", old.Namespace, old.Name), "delete it or rename it"}
	default:
		next.ResourceVersion = old.ResourceVersion
		if err := c.Update(ctx, next, client.FieldOwner(FieldManager)); err != nil {
			return err
		}
	}
	fmt.Fprintf(o.ErrOut, "archived in ConfigMap %s/%s\n", next.Namespace, next.Name)
	if leftOut > 0 {
		fmt.Fprintf(o.ErrOut, "a ConfigMap holds at most 1 MiB: %d of %d failed targets are not in the archive\n", leftOut, report.FailedTotal)
	}
	return nil
}

// archiveOf returns the ConfigMap of a report, and how many failed targets of the report did not
// fit.
func archiveOf(report *explain.Report, now time.Time) (*corev1.ConfigMap, int, error) {
	at := metav1.NewTime(now.UTC().Truncate(time.Second))
	archived := *report
	archived.ArchivedAt = &at
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: report.Namespace, Name: archiveName(report.Rollout, report.UID),
		Labels:      map[string]string{v1alpha1.ReportLabel: grouping.LabelValue(report.Rollout), v1alpha1.ManagedByLabel: FieldManager},
		Annotations: map[string]string{v1alpha1.ReportRolloutAnnotation: report.Rollout, v1alpha1.ReportUIDAnnotation: report.UID, v1alpha1.ReportTimeAnnotation: at.UTC().Format(time.RFC3339)},
	}}
	for {
		data, err := json.Marshal(&archived)
		if err != nil {
			return nil, 0, err
		}
		if len(data) <= maxPlain {
			o.Data = map[string]string{archiveKey: string(data)}
			return o, len(report.Failed) - len(archived.Failed), nil
		}
		packed, err := compress(data)
		if err != nil {
			return nil, 0, err
		}
		if len(packed) <= maxArchive {
			o.BinaryData = map[string][]byte{compressedKey: packed}
			return o, len(report.Failed) - len(archived.Failed), nil
		}
		if len(archived.Failed) == 0 {
			return nil, 0, fmt.Errorf("the report has %d bytes, also without the failed targets; a ConfigMap holds at most 1 MiB", len(packed))
		}
		archived.Failed = archived.Failed[:len(archived.Failed)/2]
	}
}

func compress(data []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(data)
	if err = errors.Join(err, w.Close()); err != nil { // only Close writes the end
		return nil, err
	}
	return out.Bytes(), nil
}

// archivedReport returns the archived report of a rollout with this name: of the UID that is asked
// for, else the newest one. missing is the error about the rollout; nil: a rollout of this name
// exists and has another UID.
func (o *Options) archivedReport(ctx context.Context, name, uid string, missing error) (*explain.Report, error) {
	namespace, err := o.Namespace()
	if err != nil {
		return nil, err
	}
	archives, err := listAll[corev1.ConfigMap](ctx, o, &corev1.ConfigMapList{}, client.InNamespace(namespace), client.MatchingLabels{v1alpha1.ReportLabel: grouping.LabelValue(name)})
	if err != nil {
		return nil, errors.Join(missing, fmt.Errorf("archived reports could not be read: %w", err))
	}
	archives = slices.DeleteFunc(archives, func(c *corev1.ConfigMap) bool {
		return c.Annotations[v1alpha1.ReportRolloutAnnotation] != name || uid != "" && c.Annotations[v1alpha1.ReportUIDAnnotation] != uid
	})
	if len(archives) == 0 {
		if missing == nil {
			missing = fmt.Errorf("no rollout %s/%s has the UID %s", namespace, name, uid)
		}
		return nil, &ExitError{Code: CodeNotFound, Err: fixed{missing, "there is no archived report of it either: `kubectl goshawk report ROLLOUT --archive` writes one before the deletion"}}
	}
	newest := slices.MaxFunc(archives, func(a, b *corev1.ConfigMap) int {
		return strings.Compare(a.Annotations[v1alpha1.ReportTimeAnnotation]+a.Name, b.Annotations[v1alpha1.ReportTimeAnnotation]+b.Name)
	})
	return reportIn(newest)
}

// reportIn reads the report of a ConfigMap.
func reportIn(o *corev1.ConfigMap) (*explain.Report, error) {
	data := []byte(o.Data[archiveKey])
	if packed, ok := o.BinaryData[compressedKey]; ok {
		r, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return nil, unreadableArchive(o, err)
		}
		if data, err = io.ReadAll(io.LimitReader(r, maxUnpacked)); err != nil {
			return nil, unreadableArchive(o, err)
		}
	}
	report := &explain.Report{}
	if err := json.Unmarshal(data, report); err != nil {
		return nil, unreadableArchive(o, err)
	}
	if report.ArchivedAt == nil {
		return nil, unreadableArchive(o, errors.New("it has no archivedAt"))
	}
	return report, nil
}

func unreadableArchive(o *corev1.ConfigMap, err error) error {
	return fixed{fmt.Errorf("ConfigMap %s/%s has no report that can be read: %w", o.Namespace, o.Name, err), "restore it from a backup, or delete it"}
}
