// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtbuf-exporter: gives dma-bufs of all kinds to virtbuf-test, among them
 * those of which the hardware that makes them is hard to come by.
 *
 * Never part of an installation. MMIO is the address of some PCI device's memory;
 * nobody is to touch it, and the driver under test has to refuse it.
 */
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/gfp.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include "virtbuf-exporter.h"

#define EXPORTER_PAGES	2

struct exporter {
	unsigned int kind;
	struct page *pages[EXPORTER_PAGES];
};

/* Of any PCI device that has memory */
static phys_addr_t exporter_mmio(void)
{
	struct pci_dev *pdev = NULL;
	phys_addr_t found = 0;
	int i;

	for_each_pci_dev(pdev) {
		for (i = 0; i < PCI_STD_NUM_BARS && !found; i++) {
			if (pci_resource_flags(pdev, i) & IORESOURCE_MEM &&
			    pci_resource_len(pdev, i) >= PAGE_SIZE)
				found = pci_resource_start(pdev, i);
		}
	}
	return found & PAGE_MASK;
}

static int exporter_attach(struct dma_buf *dma_buf,
			   struct dma_buf_attachment *attach)
{
	const struct exporter *exporter = dma_buf->priv;

	if (exporter->kind == EXPORTER_PEER_TO_PEER && !attach->peer2peer)
		return -EREMOTE;
	return 0;
}

static bool exporter_is_mmio(const struct exporter *exporter, unsigned int i)
{
	return exporter->kind == EXPORTER_MMIO ||
	       (exporter->kind == EXPORTER_MIXED && i);
}

static dma_addr_t exporter_map_page(const struct exporter *exporter,
				    struct device *dev, unsigned int i)
{
	if (exporter_is_mmio(exporter, i))
		return exporter_mmio();
	return dma_map_page(dev, exporter->pages[i], 0, PAGE_SIZE,
			    DMA_BIDIRECTIONAL);
}

static void exporter_unmap(struct dma_buf_attachment *attach,
			   struct sg_table *sgt, enum dma_data_direction dir)
{
	const struct exporter *exporter = attach->dmabuf->priv;
	struct scatterlist *sg;
	unsigned int i;

	for_each_sgtable_dma_sg(sgt, sg, i) {
		if (!exporter_is_mmio(exporter, i))
			dma_unmap_page(attach->dev, sg_dma_address(sg),
				       PAGE_SIZE, DMA_BIDIRECTIONAL);
	}
	sg_free_table(sgt);
	kfree(sgt);
}

static struct sg_table *exporter_map(struct dma_buf_attachment *attach,
				     enum dma_data_direction dir)
{
	const struct exporter *exporter = attach->dmabuf->priv;
	struct scatterlist *sg;
	struct sg_table *sgt;
	unsigned int i;

	sgt = kzalloc(sizeof(*sgt), GFP_KERNEL);
	if (!sgt)
		return ERR_PTR(-ENOMEM);
	if (sg_alloc_table(sgt, EXPORTER_PAGES, GFP_KERNEL)) {
		kfree(sgt);
		return ERR_PTR(-ENOMEM);
	}
	sgt->nents = 0;
	for_each_sgtable_sg(sgt, sg, i) {
		dma_addr_t addr;

		if (exporter->kind == EXPORTER_EMPTY ||
		    (exporter->kind == EXPORTER_SHORT && i))
			break;
		addr = exporter_map_page(exporter, attach->dev, i);
		if (dma_mapping_error(attach->dev, addr)) {
			exporter_unmap(attach, sgt, dir);
			return ERR_PTR(-EIO);
		}
		/* An importer has no business with pages */
		sg_set_page(sg, NULL, PAGE_SIZE, 0);
		sg_dma_address(sg) = addr;
		sg_dma_len(sg) = exporter->kind == EXPORTER_BROKEN ?
				 PAGE_SIZE / 2 : PAGE_SIZE;
		sgt->nents++;
	}
	return sgt;
}

static void exporter_free(struct exporter *exporter)
{
	unsigned int i;

	for (i = 0; i < EXPORTER_PAGES; i++) {
		if (exporter->pages[i])
			__free_page(exporter->pages[i]);
	}
	kfree(exporter);
}

static void exporter_release(struct dma_buf *dma_buf)
{
	exporter_free(dma_buf->priv);
}

static const struct dma_buf_ops exporter_ops = {
	.attach = exporter_attach,
	.map_dma_buf = exporter_map,
	.unmap_dma_buf = exporter_unmap,
	.release = exporter_release,
};

static long exporter_ioctl(struct file *file, unsigned int request,
			   unsigned long kind)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct exporter *exporter;
	struct dma_buf *dma_buf;
	unsigned int i;

	if (request != EXPORTER_CREATE)
		return -ENOTTY;
	if (kind >= EXPORTER_KINDS)
		return -EINVAL;
	exporter = kzalloc(sizeof(*exporter), GFP_KERNEL);
	if (!exporter)
		return -ENOMEM;
	exporter->kind = kind;
	for (i = 0; i < EXPORTER_PAGES; i++) {
		exporter->pages[i] = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (!exporter->pages[i]) {
			exporter_free(exporter);
			return -ENOMEM;
		}
	}

	info.ops = &exporter_ops;
	info.size = EXPORTER_PAGES * PAGE_SIZE;
	if (kind == EXPORTER_ODD_SIZE)
		info.size -= 1;
	info.flags = O_RDWR | O_CLOEXEC;
	info.priv = exporter;
	dma_buf = dma_buf_export(&info);
	if (IS_ERR(dma_buf)) {
		exporter_free(exporter);
		return PTR_ERR(dma_buf);
	}
	return dma_buf_fd(dma_buf, O_CLOEXEC);
}

static const struct file_operations exporter_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = exporter_ioctl,
};

static struct miscdevice exporter_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "virtbuf-exporter",
	.fops = &exporter_fops,
};
module_misc_device(exporter_device);

/* As MODULE_IMPORT_NS(), whose argument is not a string before Linux 6.13 */
MODULE_INFO(import_ns, "DMA_BUF");
MODULE_AUTHOR("The virtio-buf developers");
MODULE_DESCRIPTION("dma-bufs for the tests of virtio-buf");
MODULE_LICENSE("GPL");
